"""What `harmost usage --plot` draws: rows of sums as columns over time, or as bars. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from harmost.services.cli.output import usd
from harmost.services.cli.plot import Series, bars, columns, largest, legend, sparks

__all__ = ["drawn"]

BARS_MAX = 30
BUCKETS_MAX = 100_000  # eleven years of hours
NAMELESS = "-"
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def drawn(
    groups: Sequence[str], rows: Sequence[Any], metric: str, *, width: int, coloured: bool
) -> list[str]:
    """Lines of markup for `rows` of a QueryUsage answer: over time where they are by hour or day."""
    if not rows:
        return []

    def show(value: int) -> str:
        return usd(value) if metric == "cost" else f"{value:,}"

    time = next((group for group in groups if group in SPANS), None)
    if time is None:
        return _bars(rows, metric, show, width)
    labels, series = _over_time(groups, rows, metric, time)
    shown = largest(series)
    if not coloured and len(shown) > 1:
        return [*sparks(shown, show, width=width), f"[dim]{labels[0]} … {labels[-1]}[/dim]"]
    chart = columns(shown, labels, width=width, show=show)
    return chart if shown[0].name == NAMELESS else [*chart, *legend(shown, show)]


def value_of(row: Any, metric: str) -> int:
    """What `metric` means of a row of usage."""
    if metric == "cost":
        return int(row.cost_usd_nanos)
    if metric == "tokens":
        return int(row.usage.input_tokens + row.usage.output_tokens)
    return int(row.denials if metric == "denied" else getattr(row, metric))


def _bars(rows: Sequence[Any], metric: str, show: Any, width: int) -> list[str]:
    items = sorted(
        ((_name(row.keys), value_of(row, metric)) for row in rows),
        key=lambda item: (-item[1], item[0]),
    )
    lines = bars(items[:BARS_MAX], show, width=width)
    if len(items) > BARS_MAX:
        rest = sum(value for _, value in items[BARS_MAX:])
        lines.append(f"[dim]and {len(items) - BARS_MAX:,} more, together {show(rest)}[/dim]")
    return lines


def _over_time(
    groups: Sequence[str], rows: Sequence[Any], metric: str, time: str
) -> tuple[list[str], list[Series]]:
    """The buckets from the first to the last, empty ones too, and what each name has in them."""
    at = groups.index(time)
    times = [datetime.fromisoformat(row.keys[at]) for row in rows]
    first, span = min(times), SPANS[time]
    count = min((max(times) - first) // span + 1, BUCKETS_MAX)
    values: dict[str, list[int]] = {}
    for row, when in zip(rows, times, strict=True):
        name = _name(key for index, key in enumerate(row.keys) if index != at)
        bucket = (when - first) // span
        if bucket < count:
            values.setdefault(name, [0] * count)[bucket] += value_of(row, metric)
    form = "%Y-%m-%d %H:00" if time == "hour" else "%Y-%m-%d"
    labels = [(first + span * number).strftime(form) for number in range(count)]
    return labels, [Series(name, tuple(each)) for name, each in values.items()]


def _name(keys: Iterable[str]) -> str:
    return " · ".join(key or NAMELESS for key in keys) or NAMELESS
