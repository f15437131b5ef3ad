"""`harmost budget show`: the tree of budgets, what is used of each, how fast, and until when."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.core.errors import NotFound
from harmost.services.cli import options
from harmost.services.cli.money.burn import MINUTES, Burn, Forecast, NodeSums, burns, forecast
from harmost.services.cli.money.draw import Segment, amount, bar, escaped, per_hour, span, spark
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["show"]

SPARK_MINUTES = 2  # to a cell


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
    """Show budgets: what is used, held, leased, in suspense and left, how fast, and until when."""
    from harmost.budget.v1 import budget_pb2
    from harmost.services.cli.output import console, emit, note
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = budget_pb2.ListBudgetsRequest(tenant=node, page_size=1_000)
    now = datetime.now(UTC)
    with target.session("budget") as session:
        found = [one for page in session.pages("ListBudgets", request) for one in page.budgets]
        burnt = burns(_minutes(session, node, found, now), ((one.node, one.unit) for one in found))
    if node and not found:
        raise NotFound(f"no budget is at or below `{node}`: see `harmost budget show`")
    rated = [(one, burnt[one.node, one.unit], _forecast(one, burnt, now)) for one in found]
    if as_json:
        emit([_plain(one, burn, ends, now) for one, burn, ends in rated])
    elif found:
        console().print(_tree(rated, now))
        console().print(
            "[dim]█ settled  [cyan]▓[/cyan] held  [blue]▒[/blue] leased to Routers  "
            "[magenta]░[/magenta] suspense  · left; burn over 15 minutes, drawn over 60[/dim]"
        )
    else:
        note("no budgets that this key may see")


def _minutes(session: Any, node: str, budgets: list[Any], now: datetime) -> list[NodeSums]:
    """The last hour's sums, as fine as the budgets tell attempts apart."""
    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.output import note

    kinds = {budget.node.partition(":")[0] for budget in budgets}
    groups = [pb.ENTRY_GROUP_MINUTE, pb.ENTRY_GROUP_TENANT]
    fields = {
        "profile": pb.ENTRY_GROUP_PROFILE,
        "agent": pb.ENTRY_GROUP_AGENT,
        "user": pb.ENTRY_GROUP_END_USER,
    }
    narrow = [kind for kind in fields if kind in kinds]
    groups += [fields[kind] for kind in narrow]
    request = pb.SumEntriesRequest(tenant=node, group_by=groups)
    request.start.FromDatetime(now - timedelta(minutes=MINUTES))
    rows: list[NodeSums] = []
    answer = session.call("SumEntries", request)
    if answer.truncated:
        note("more than 10,000 sums in an hour: the burn of some is not shown; name a tenant")
    for found in answer.sums:
        minute, tenant, *rest = found.keys
        names = dict(zip(narrow, rest, strict=True))
        began = datetime.fromisoformat(minute)
        rows.append(
            NodeSums(
                tenant=tenant,
                profile=names.get("profile", ""),
                agent_id=names.get("agent", ""),
                end_user_id=names.get("user", ""),
                minute=int((now - began).total_seconds()) // 60,
                usd_nanos=found.usd_nanos,
                tokens=found.tokens,
                attempts=found.attempts,
            )
        )
    return rows


def _left(found: Any) -> int:
    if found.HasField("rate"):
        return int(found.rate.available)
    taken = found.settled + found.held + found.leased + found.suspense
    return int(found.limit + found.debt - taken)


def _forecast(found: Any, burnt: dict[tuple[str, int], Burn], now: datetime) -> Forecast:
    if found.HasField("rate"):  # it fills again all the time
        return Forecast(None)
    resets_in_s = None
    if found.HasField("resets_at"):
        resets_in_s = int((found.resets_at.ToDatetime(UTC) - now).total_seconds())
    # What is leased or held is still to be spent: it lasts as long as what is left.
    left = _left(found) + found.held + found.leased
    return forecast(left, burnt[found.node, found.unit], resets_in_s)


def _plain(found: Any, burn: Burn, ends: Forecast, now: datetime) -> dict[str, Any]:
    from harmost.services.cli.plain import plain

    seconds = ends.exhausted_in_s
    at = None if seconds is None else now + timedelta(seconds=min(seconds, 10**10))
    told: dict[str, Any] = plain(found)
    return told | {
        "left": _left(found),
        "burn_per_hour": burn.per_hour,
        "burn_by_minute": list(burn.by_minute),
        "exhausted_at": at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None,
    }


def _tree(rated: list[tuple[Any, Burn, Forecast]], now: datetime) -> "Tree":
    """Nodes below each other as their paths are: "tenant:a" above "tenant:a/b" and "profile:a/x"."""
    from rich.tree import Tree

    root = Tree("budgets", guide_style="dim", hide_root=True)
    nodes: dict[str, Tree] = {"": root}
    for found, burn, ends in sorted(
        rated, key=lambda one: (_path(one[0].node), one[0].node, one[0].name)
    ):
        if found.node not in nodes:
            path = _path(found.node)
            label = path if found.node.startswith("tenant:") else found.node
            label = label or "the whole deployment"
            nodes[found.node] = _parent(nodes, path).add(f"[bold]{escaped(label)}[/bold]")
        line = nodes[found.node].add(_line(found))
        if any(burn.by_minute) or ends.exhausted_in_s == 0:
            line.add(_burn_line(found, burn, ends, now))
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


def _rate_line(found: Any) -> str:
    """How much of a minute's worth is there, and what Routers refill themselves with."""
    rate, limit = found.rate, found.limit
    missing = limit - rate.available
    permille = missing * 1000 // limit if limit > 0 else 1_000
    warns = bool(found.warn_at_permille) and permille >= found.warn_at_permille
    colour = "red" if rate.available <= 0 else "yellow" if warns else "green"
    there = f"{amount(found.unit, rate.available)} of it there now"
    if rate.available < 0:
        there = f"[bold red]owes {amount(found.unit, -rate.available)}[/bold red]"
    parts = [
        f"{amount(found.unit, limit)} a minute",
        there,
        f"{amount(found.unit, found.settled)} used this minute",
    ]
    if rate.lent_per_minute:
        parts.append(f"Routers refill themselves with {amount(found.unit, rate.lent_per_minute)}")
    drawn = bar((Segment(missing, "█", colour),), limit)
    return f"{drawn} {permille / 10:5.1f}%  {', '.join(parts)}  [dim]{escaped(found.name)}[/dim]"


def _line(found: Any) -> str:
    from harmost.budget.v1 import budget_pb2

    if found.HasField("rate"):
        return _rate_line(found)
    used = found.limit + found.debt - _left(found) - found.debt
    permille = used * 1000 // found.limit if found.limit > 0 else 1_000
    warns = bool(found.warn_at_permille) and permille >= found.warn_at_permille
    colour = "red" if permille >= 1_000 else "yellow" if warns else "green"
    drawn = bar(
        (
            Segment(found.settled, "█", colour),
            Segment(found.held, "▓", "cyan"),
            Segment(found.leased, "▒", "blue"),
            Segment(found.suspense, "░", "magenta"),
        ),
        found.limit,
    )
    window = budget_pb2.Window.Name(found.window).removeprefix("WINDOW_").lower()
    period = "in all" if window == "total" else f"a {window}"
    soft = " soft" if found.enforcement == budget_pb2.ENFORCEMENT_SOFT else ""
    parts = [
        f"{amount(found.unit, found.settled)} of {amount(found.unit, found.limit)} {period}{soft}"
    ]
    for name in ("held", "leased", "suspense", "debt"):
        value = getattr(found, name)
        if value:
            alarmed = name == "debt"
            told = f"{name} {amount(found.unit, value)}"
            parts.append(f"[bold red]{told}[/bold red]" if alarmed else told)
    return f"{drawn} {permille / 10:5.1f}%  {', '.join(parts)}  [dim]{escaped(found.name)}[/dim]"


def _burn_line(found: Any, burn: Burn, ends: Forecast, now: datetime) -> str:
    cells = [
        sum(burn.by_minute[begin : begin + SPARK_MINUTES])
        for begin in range(0, MINUTES, SPARK_MINUTES)
    ]
    said = f"[dim]{spark(cells)}[/dim] {per_hour(found.unit, burn.per_hour)}"
    if ends.exhausted_in_s is None:
        if burn.per_hour and found.HasField("resets_at") and not found.HasField("rate"):
            return f"{said}, lasts until it starts anew"
        return said
    if ends.exhausted_in_s == 0:
        return f"{said}, [red]used up[/red]{_anew(found, now)}"
    return f"{said}, [yellow]used up in {span(ends.exhausted_in_s)}[/yellow]{_anew(found, now)}"


def _anew(found: Any, now: datetime) -> str:
    if not found.HasField("resets_at"):
        return ""
    resets_in_s = int((found.resets_at.ToDatetime(UTC) - now).total_seconds())
    return f", starts anew in {span(resets_in_s)}"
