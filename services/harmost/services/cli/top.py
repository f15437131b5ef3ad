"""`harmost top`: what each of the Router's workers is doing now."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.services.operate.workers import Worker

__all__ = ["top"]

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
    return made


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
