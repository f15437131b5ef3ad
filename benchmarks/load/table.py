"""What a load run found, as tables for people, on standard error."""

import sys

from rich.console import Console
from rich.table import Table
from rig import Window

__all__ = ["print_streams", "print_unary"]

PACE_PER_S = 20
SATURATED = 0.97  # below this share of what was offered the provider's tokens pile up


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _print(table: Table) -> None:
    Console(file=sys.stderr, width=160).print(table)


def _share(window: Window, service: str) -> str:
    return f"{window.cpu_us.get(service, 0.0) / window.seconds / 1e6:.0%}"


def _errors(window: Window) -> str:
    return " ".join(f"{n} of {status}" for status, n in window.errors.items()) or "0"


def print_streams(rows: list[tuple[str, Window]]) -> None:
    """One line for each counted window. CPU in percent is of one core."""
    table = _table(
        "streams at 20 tokens a second",
        *("what", "streams", "tokens/s", "us/token", "router", "budget", "mock", "load", "others"),
        *("delay p50", "p99", "TTFT p50", "p99 ms", "RSS MB", "errors"),
    )
    for name, window in rows:
        per_s = window.tokens / window.seconds
        full = per_s < SATURATED * PACE_PER_S * window.streams
        table.add_row(
            name,
            f"{window.streams:,}",
            f"{per_s:,.0f}{'!' if full else ' '}",
            f"{window.router_us_per_token:.1f}",
            *(_share(window, service) for service in ("router", "budget", "provider")),
            f"{window.raw['own_cpu_us'] / window.seconds / 1e6:.0%}",
            f"{window.others_share:.0%}",
            *(f"{window.ms('delay', q):.2f}" for q in ("p50", "p99")),
            *(f"{window.ms('ttft', q):.1f}" for q in ("p50", "p99")),
            f"{window.rss_mb:.0f}",
            _errors(window),
        )
    if rows:
        _print(table)
        print("!: fewer tokens than the provider would send: saturated", file=sys.stderr)


def print_unary(rows: list[tuple[str, float, Window]]) -> None:
    """One line for each rate."""
    table = _table(
        "unary calls with a prompt of 1 KB, answered in one go",
        *("what", "offered/s", "answered/s", "router us", "budget us", "telemetry us", "others"),
        *("latency p50", "p99", "p99.9 ms", "errors"),
    )
    for name, rate, window in rows:
        calls = max(window.answered, 1)
        table.add_row(
            name,
            f"{rate:,.0f}",
            f"{window.answered / window.seconds:,.0f}",
            *(
                f"{window.cpu_us.get(service, 0.0) / calls:,.0f}"
                for service in ("router", "budget", "telemetry")
            ),
            f"{window.others_share:.0%}",
            *(f"{window.ms('latency', q):.2f}" for q in ("p50", "p99", "p999")),
            _errors(window),
        )
    if rows:
        _print(table)
