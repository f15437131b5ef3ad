"""`harmost budget top`: who burns most money now."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from harmost.services.cli import options
from harmost.services.cli.money.draw import escaped, spark
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from rich.table import Table

    from harmost.services.operate.session import Session

__all__ = ["top"]

BY = ("tenant", "model", "profile", "agent", "end_user")
# Narrower terminals do without the line of minutes: names and figures come first.
WIDE_COLUMNS = 120
NAME_COLUMNS = 16
MINUTES = 30
ROWS_MAX = 100


class Burner(NamedTuple):
    """One who burns: sums of the last minute, and money by minute, the oldest first."""

    name: str
    usd_nanos: int
    tokens: int
    attempts: int
    by_minute: tuple[int, ...]


def top(
    by: Annotated[str, typer.Option(help=f"Who: {', '.join(BY)}.")] = "tenant",
    levels: Annotated[
        int, typer.Option(min=0, max=8, help="How many levels of tenant paths; 0: all.")
    ] = 0,
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    interval: Annotated[
        float, typer.Option(min=0.5, max=60, help="Seconds between two looks.")
    ] = 2.0,
    rows: Annotated[int, typer.Option(min=1, max=ROWS_MAX, help="At the most so many.")] = 15,
    once: Annotated[bool, typer.Option("--once", help="Answer once.")] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Watch who burns most, until Ctrl-C."""
    from rich.live import Live

    from harmost.services.cli.output import console, emit, line
    from harmost.services.cli.target import Target

    wanted = by.strip().replace("-", "_")
    if wanted not in BY:
        raise typer.BadParameter(f"`{by}` is not known: use {', '.join(BY)}", param_hint="--by")
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("budget") as session:

        def look() -> list[Burner]:
            return _burners(session, by=wanted, levels=levels, tenant=tenant)[:rows]

        if once:
            found = look()
            emit(_plain(found)) if as_json else console().print(_table(wanted, found))
            return
        try:
            if as_json:
                while True:
                    line(_plain(look()))
                    time.sleep(interval)
            with Live(_table(wanted, look()), console=console(), auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    live.update(_table(wanted, look()), refresh=True)
        except KeyboardInterrupt:
            return


def _burners(session: "Session", *, by: str, levels: int, tenant: str) -> list[Burner]:
    """Everyone who spent in the last half hour, who spent most in the last minute first."""
    from harmost.budget.v1 import budget_pb2 as pb

    now = datetime.now(UTC)
    group = pb.EntryGroup.Value(f"ENTRY_GROUP_{by.upper()}")
    asked = pb.SumEntriesRequest(tenant=tenant, group_by=[group], tenant_levels=levels)
    asked.start.FromDatetime(now - timedelta(minutes=1))
    last = {one.keys[0]: one for one in session.call("SumEntries", asked).sums}
    asked.group_by.append(pb.ENTRY_GROUP_MINUTE)
    asked.start.FromDatetime(now - timedelta(minutes=MINUTES))
    minutes: dict[str, list[int]] = {name: [0] * MINUTES for name in last}
    for one in session.call("SumEntries", asked).sums:
        name, minute = one.keys
        ago = int((now - datetime.fromisoformat(minute)).total_seconds()) // 60
        if 0 <= ago < MINUTES:
            minutes.setdefault(name, [0] * MINUTES)[MINUTES - 1 - ago] += one.usd_nanos
    nothing = pb.EntrySum()
    found = [
        Burner(name, one.usd_nanos, one.tokens, one.attempts, tuple(values))
        for name, values in minutes.items()
        for one in (last.get(name, nothing),)
    ]
    return sorted(found, key=lambda one: (-one.usd_nanos, -sum(one.by_minute), one.name))


def _plain(burners: list[Burner]) -> list[dict[str, Any]]:
    return [one._asdict() | {"by_minute": list(one.by_minute)} for one in burners]


def _table(by: str, burners: list[Burner]) -> "Table":
    from rich import box
    from rich.table import Table

    from harmost.services.cli.output import console, usd

    wide = console().width >= WIDE_COLUMNS
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    made.add_column(by.replace("_", " "), overflow="fold", min_width=NAME_COLUMNS)
    for column in ("an hour, at this pace", "last minute", "attempts", "tokens", "half an hour"):
        made.add_column(column, justify="right", no_wrap=wide)
    if wide:
        made.add_column("by minute", no_wrap=True)
    most = max((one.usd_nanos for one in burners), default=0)
    for one in burners:
        style = "bold" if one.usd_nanos and one.usd_nanos == most else ""
        made.add_row(
            escaped(one.name or "-"),
            f"${one.usd_nanos * 60 / 1e9:,.2f}",
            usd(one.usd_nanos),
            f"{one.attempts:,}",
            f"{one.tokens:,}",
            usd(sum(one.by_minute)),
            *([spark(one.by_minute)] if wide else ()),
            style=style,
        )
    if not burners:
        made.add_row("[dim]nothing was spent in the last half hour[/dim]")
    return made
