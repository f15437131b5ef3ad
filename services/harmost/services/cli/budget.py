"""`harmost budget`: run the Budget service alone; `harmost budget show`: balances as a tree."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options, serve
from harmost.services.operate.endpoints import DATA_DIR, PORT

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["app"]

BAR_CELLS = 24
app = typer.Typer(invoke_without_command=True)


@app.callback()
def budget(
    context: typer.Context,
    listen: serve.Listen = f"127.0.0.1:{PORT + 2}",
    data: serve.Data = DATA_DIR,
    service_key_file: serve.ServiceKey = None,
    admin_key_file: serve.AdminKey = None,
    policy_verify_key: serve.PolicyVerifyKeys = None,
    transport: serve.Transport = "wire",
    tls_cert: serve.TlsCert = None,
    tls_key: serve.TlsKey = None,
    tls_client_ca: serve.TlsClientCa = None,
    tls_ca: serve.TlsCa = None,
    policy: serve.Policy = f"127.0.0.1:{PORT + 1}",
    insecure_listen: serve.Insecure = False,
    grace: serve.Grace = 10.0,
    supervised: serve.Supervised = False,
) -> None:
    """Run the Budget service alone: it keeps the ledger. `show`: see balances."""
    if context.invoked_subcommand is not None:
        return
    serve.run(
        "budget",
        supervised=supervised,
        listen=listen,
        data_dir=data,
        service_key_file=service_key_file,
        admin_key_file=admin_key_file,
        policy_verify_keys=tuple(policy_verify_key or ()),
        transport=transport,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tls_ca=tls_ca,
        policy_address=policy,
        allow_insecure=insecure_listen,
        grace_s=grace,
    )


@app.command("show")
def show(
    node: Annotated[
        str, typer.Argument(help="Only this tenant path and below; empty: all that you may see.")
    ] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show budgets and what is left of them."""
    from harmost.budget.v1 import budget_pb2
    from harmost.services.cli.output import console, emit, note
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = budget_pb2.ListBudgetsRequest(tenant=node, page_size=1_000)
    with target.session("budget") as session:
        found = [one for page in session.pages("ListBudgets", request) for one in page.budgets]
    if as_json:
        emit([plain(one) for one in found])
    elif found:
        console().print(_tree(found))
    else:
        note(f"no budgets at or below `{node}`" if node else "no budgets that this key may see")


def _tree(budgets: list[Any]) -> "Tree":
    """Nodes below each other as their paths are: "tenant:a" above "tenant:a/b" and "profile:a/x"."""
    from rich.tree import Tree

    from harmost.services.cli.output import safe

    root = Tree("budgets", guide_style="dim", hide_root=True)
    nodes: dict[str, Tree] = {"": root}
    for found in sorted(budgets, key=lambda one: (_path(one.node), one.node, one.name)):
        if found.node not in nodes:
            path = _path(found.node)
            label = path if found.node.startswith("tenant:") else found.node
            nodes[found.node] = _parent(nodes, path).add(f"[bold]{_escaped(safe(label))}[/bold]")
        nodes[found.node].add(_line(found))
    return root


def _path(node: str) -> str:
    return node.partition(":")[2]


def _parent(nodes: dict[str, "Tree"], path: str) -> "Tree":
    while path:
        path = path.rpartition("/")[0]
        found = nodes.get(f"tenant:{path}")
        if found is not None:
            return found
    return nodes[""]


def _line(found: Any) -> str:
    from harmost.budget.v1 import budget_pb2
    from harmost.services.cli.output import safe

    used = found.settled + found.held - found.debt
    permille = min(used * 1000 // found.limit, 1_000) if found.limit > 0 else 1_000
    filled = BAR_CELLS * max(permille, 0) // 1000
    warns = bool(found.warn_at_permille) and permille >= found.warn_at_permille
    colour = "red" if permille >= 1_000 else "yellow" if warns else "green"
    window = budget_pb2.Window.Name(found.window).removeprefix("WINDOW_").lower()
    soft = " soft" if found.enforcement == budget_pb2.ENFORCEMENT_SOFT else ""
    held = f", held {_amount(found.unit, found.held)}" if found.held else ""
    return (
        f"[{colour}]{'█' * filled}[/{colour}][dim]{'░' * (BAR_CELLS - filled)}[/dim] "
        f"{permille / 10:5.1f}%  {_amount(found.unit, found.settled)} of "
        f"{_amount(found.unit, found.limit)} a {window}{soft}{held}  "
        f"[dim]{_escaped(safe(found.name))}[/dim]"
    ).replace(" a total", " in all")


def _amount(unit: Any, amount: int) -> str:
    from harmost.budget.v1 import budget_pb2
    from harmost.services.cli.output import usd

    if unit == budget_pb2.UNIT_USD_NANOS:
        return usd(amount)
    return f"{amount:,} {budget_pb2.Unit.Name(unit).removeprefix('UNIT_').lower()}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
