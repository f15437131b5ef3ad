"""`harmost budget write-off`: see what Routers left in suspense, and settle what no journal will tell of."""

from typing import Annotated, Any

import typer

from harmost.core.errors import InvalidInput, NotFound
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["write_off"]

COLUMNS = ("router", "epoch", "budget", "window", "what can be done", "in suspense")
SILENT = "nothing: it is silent, and may go on"
ENDED = "wait for its journal, or write off"


def write_off(
    router: Annotated[
        str, typer.Argument(metavar="[ROUTER]", help="Whose. Empty: show those of all.")
    ] = "",
    epoch: Annotated[
        int, typer.Option(min=0, help="Which of its epochs, where several are listed.")
    ] = 0,
    reason: Annotated[
        str, typer.Option(help="Why. Kept for ever. Without: only show what is in suspense.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what Routers left in suspense; with ROUTER and --reason, settle it as if it were spent.

    For a Router whose journal is lost. What is known to be unspent, `adjust` gives back afterwards.
    Needs the role finance and a key of the whole deployment; the rows name you and the reason.
    """
    from harmost.budget.v1 import budget_pb2 as pb
    from harmost.services.cli.target import Target

    if reason and not router:
        raise typer.BadParameter("name the Router that is written off", param_hint="ROUTER")
    if (epoch or yes) and not reason:
        raise typer.BadParameter("say why with --reason", param_hint="--reason")
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("budget") as session:
        answer = session.call("ListSuspense", pb.ListSuspenseRequest(router_id=router))
        if not as_json:
            _show(answer, router)
        elif not reason:
            _tell([], answer)
        if not reason:
            return
        chosen = chosen_epoch(answer.suspense, router, epoch)
        if not yes:
            typer.confirm(
                f"settle all of epoch {chosen} of `{router}` as spent?", abort=True, err=True
            )
        request = pb.WriteOffSuspenseRequest(router_id=router, epoch=chosen, reason=reason)
        written = session.call("WriteOffSuspense", request).entries
        if as_json:
            _tell(written, session.call("ListSuspense", pb.ListSuspenseRequest(router_id=router)))
            return
    if not written:
        print(f"nothing is left of epoch {chosen}: the journal of `{router}` told of it meanwhile")
        return
    rows = ", ".join(f"{entry.sequence} (`{entry.budget}`)" for entry in written)
    print(f"epoch {chosen} of `{router}` is written off: ledger rows {rows}")


def chosen_epoch(suspense: Any, router: str, epoch: int) -> int:
    """The one epoch of `router` that is meant; NotFound or InvalidInput where it cannot be."""
    ended = sorted({int(each.epoch) for each in suspense if each.ended})
    if epoch in ended:
        return epoch
    if not ended:
        silent = any(not each.ended for each in suspense)
        why = (
            "its epoch has not ended: start it again under its name, and it ends"
            if silent
            else "see what is with `harmost budget write-off`"
        )
        raise NotFound(f"nothing of Router `{router}` can be written off: {why}")
    listed = ", ".join(map(str, ended))
    if epoch:
        raise NotFound(f"epoch `{epoch}` of `{router}` left nothing: choose one of {listed}")
    if len(ended) > 1:
        raise InvalidInput(f"`{router}` left several epochs: choose one of {listed} with `--epoch`")
    return ended[0]


def _show(answer: Any, router: str) -> None:
    from harmost.services.cli.money.draw import amount
    from harmost.services.cli.output import note, table

    if not answer.suspense:
        note(f"nothing of Router `{router}` is in suspense" if router else "nothing is in suspense")
        return
    table(
        COLUMNS,
        (
            (
                each.router_id,
                str(each.epoch),
                each.budget,
                _window(each),
                ENDED if each.ended else SILENT,
                amount(each.unit, each.amount),
            )
            for each in answer.suspense
        ),
        right=1,
    )
    if answer.truncated:
        note("there is more: name a Router")


def _window(each: Any) -> str:
    from datetime import UTC

    from harmost.budget.v1 import budget_pb2 as pb

    name = pb.Window.Name(each.window).removeprefix("WINDOW_").lower()
    if not each.HasField("window_start"):
        return name
    return f"{name} from {each.window_start.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC"


def _tell(written: Any, answer: Any) -> None:
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain

    emit(plain(answer) | {"written_off": [plain(entry) for entry in written]})
