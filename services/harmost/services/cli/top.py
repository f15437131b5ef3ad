"""`harmost top`: what each of the Router's workers is doing now."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmost.services.operate.workers import Worker

__all__ = ["top"]

LIMITS_MAX = 20  # rows of a worker: what fits a screen beside the workers

LIMITS = ("worker", "provider", "model", "requests left", "tokens left", "rests")
COLUMNS = ("worker", "up", "calls", "calls/s", "failed/s", "tokens/s", "added p99", "held", "owed")


def top(
    interval: Annotated[
        float, typer.Option(min=0.1, max=60, help="Seconds that rates are taken over.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Answer once, after one interval.")] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Watch the Router's workers, until Ctrl-C. Needs the role operator."""
    from rich.live import Live

    from harmost.services.cli.output import console, emit
    from harmost.services.cli.target import Target
    from harmost.services.operate.workers import Workers

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with Workers(target.workers(), key=target.api_key(), tls_ca=target.tls_ca()) as workers:
        workers.read()
        time.sleep(interval)
        if once:
            found = workers.read()
            emit({"workers": [_plain(one) for one in found]}) if as_json else console().print(
                _table(found)
            )
            return
        try:
            if as_json:
                _lines(workers, interval)
            with Live(_table(workers.read()), console=console(), auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    live.update(_table(workers.read()), refresh=True)
        except KeyboardInterrupt:
            return


def _lines(workers: Any, interval_s: float) -> None:
    from harmost.services.cli.output import line

    while True:
        line({"workers": [_plain(one) for one in workers.read()]})
        time.sleep(interval_s)


def _plain(worker: "Worker") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(worker)


def _table(workers: "list[Worker]") -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(COLUMNS):
        made.add_column(column, justify="right" if index else "left", no_wrap=True)
    for worker in workers:
        if worker.error:
            made.add_row(Text(worker.address), Text("down", style="red"))
        else:
            made.add_row(*(Text(cell) for cell in _cells(worker)))
    limits = [cells for worker in workers for cells in _limits(worker)]
    if not limits:
        return made
    below = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(LIMITS):
        below.add_column(column, justify="right" if index > 2 else "left", no_wrap=True)
    for cells in limits:
        below.add_row(*map(Text, cells))
    return Group(made, below)


def _limits(worker: "Worker") -> "Iterator[tuple[str, ...]]":
    """What its providers said is left, those that rest first."""
    from harmost.services.cli.output import safe

    told = sorted(worker.provider_limits, key=lambda each: -each.rest_s)
    for each in told[:LIMITS_MAX]:
        region = f" in {each.region}" if each.region else ""
        yield (
            safe(worker.router_id),
            safe(each.provider + region),
            safe(each.vendor_model_id),
            "-" if each.requests_left is None else f"{each.requests_left:,}",
            "-" if each.tokens_left is None else f"{each.tokens_left:,}",
            f"{each.rest_s:.0f} s" if each.rest_s else "-",
        )


def _cells(worker: "Worker") -> tuple[str, ...]:
    from harmost.services.cli.output import safe, usd

    minutes, seconds = divmod(worker.uptime_s, 60)
    held = f"{worker.attempts_held:,} ({usd(worker.held_usd_nanos)})"
    return (
        f"{safe(worker.router_id)} ({worker.pid})",
        f"{minutes}:{seconds:02}",
        f"{worker.calls_live:,}",
        f"{worker.calls_per_s:,.1f}",
        f"{worker.failed_per_s:,.1f}",
        f"{worker.tokens_per_s:,.1f}",
        f"{worker.added_p99_ns / 1e6:,.2f} ms" if worker.added_p99_ns else "-",
        held if worker.attempts_held else "-",
        f"{worker.settlements_owed:,}",
    )
