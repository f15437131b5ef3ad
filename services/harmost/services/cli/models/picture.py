"""Draws prices of models against their context or quality: in the terminal, or as a file by matplotlib."""

import math
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harmost.client import ModelInfo
from harmost.core.errors import InvalidInput, NotFound
from harmost.services.cli.models.told import per_million

__all__ = ["Point", "drawn", "points_of", "write"]

ROWS, COLUMNS_MAX = 16, 100
MARKS = string.ascii_letters + string.digits
QUALITY = "quality:"
SUFFIXES = (".png", ".svg")


class Point(NamedTuple):
    """A model: what it is good for, and US dollars for a million tokens of output."""

    name: str
    provider: str
    value: int
    usd: float


def points_of(entries: Sequence[ModelInfo], against: str) -> list[Point]:
    """Those of `entries` of which price and value are known; errors where `against` means nothing."""
    points: list[Point] = []
    for one in entries:
        value = _value(one, against)
        if value is not None and one.output_usd_picos_per_token is not None:
            usd = one.output_usd_picos_per_token / 1_000_000
            points.append(Point(one.name, one.provider, value, usd))
    if not points:
        raise NotFound(_why_none(entries, against))
    return sorted(points, key=lambda point: (point.usd, point.name))


def drawn(points: Sequence[Point], against: str, *, width: int) -> list[str]:
    """`points` as lines of text, each with a letter; the legend tells whose. Both axes are logarithms."""
    shown = points[: len(MARKS)]
    columns = max(min(width - 12, COLUMNS_MAX), 10)
    across = _scale([float(point.value) for point in shown], columns, even=against != "context")
    up = _scale([point.usd for point in shown], ROWS, even=False)
    grid = [[" "] * columns for _ in range(ROWS)]
    for mark, x, y in zip(MARKS, across, up, strict=False):
        row = grid[ROWS - 1 - y]
        # Two at one place: the nearest free cell shows that there are two.
        free = [(abs(column - x), column) for column in range(columns) if row[column] == " "]
        row[min(free, default=(0, x))[1]] = mark
    top, bottom = shown[-1].usd, shown[0].usd
    lines = [f"{_side(number, top, bottom):>9} |{''.join(row)}" for number, row in enumerate(grid)]
    least, most = (pick(point.value for point in shown) for pick in (min, max))
    axis = f"{least:,}{f'{most:,}':>{max(columns - len(f'{least:,}'), 1)}}"
    lines += [f"{'':9} +{'-' * columns}", f"{'':11}{axis}", f"{'':11}{against}, output $/M up", ""]
    lines += [
        f"{mark}  {point.name}  {point.value:,}  ${_usd(point.usd)}"
        for mark, point in zip(MARKS, shown, strict=False)
    ]
    if len(points) > len(shown):
        lines.append(f"and {len(points) - len(shown)} dearer ones: narrow it with --provider")
    return lines


def write(points: Sequence[Point], against: str, path: Path) -> None:
    """Write the picture to `path`, whose ending says how."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"`{path}` is no picture: end it with {' or '.join(SUFFIXES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidInput(
            "a picture needs matplotlib: `pip install harmost[plot]`, or leave `--output` out"
        ) from None
    figure: Any = Figure(figsize=(11, 7), layout="constrained")
    axes: Any = figure.subplots()
    for provider in sorted({point.provider for point in points}):
        own = [point for point in points if point.provider == provider]
        axes.scatter([p.value for p in own], [p.usd for p in own], label=provider, s=18)
    # Several at one place share a label: else none of them could be read.
    labels: dict[tuple[int, float], list[str]] = {}
    for point in points:
        labels.setdefault((point.value, point.usd), []).append(point.name.rpartition("/")[2])
    for place, names in labels.items():
        shown = ", ".join(sorted(set(names)))
        axes.annotate(shown, place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    if against == "context":
        axes.set_xscale("log")
    axes.set_yscale("log" if all(point.usd for point in points) else "linear")
    axes.set(xlabel=_label(against), ylabel="US dollars for a million output tokens")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def _value(one: ModelInfo, against: str) -> int | None:
    if against == "context":
        return one.context_tokens_max or None
    if against.startswith(QUALITY):
        return one.quality.get(against.removeprefix(QUALITY))
    raise InvalidInput(f"`--against` `{against}` is not known: use context or {QUALITY}SUBJECT")


def _why_none(entries: Sequence[ModelInfo], against: str) -> str:
    if not entries:
        return "no model is left to draw: ask for more of them"
    if not against.startswith(QUALITY):
        return "no model has a known price: see `harmost prices diff`"
    subjects = sorted({subject for one in entries for subject in one.quality})
    known = ", ".join(f"`{QUALITY}{subject}`" for subject in subjects) or "none has any score"
    return f"no model with a price has `{against}`: there is {known}"


def _scale(values: Sequence[float], cells: int, *, even: bool) -> list[int]:
    """Which of `cells` each value belongs in."""
    # What is free has no logarithm: it stands where the cheapest does.
    least = min((value for value in values if value > 0), default=1.0)
    placed = [value if even else math.log(max(value, least)) for value in values]
    low, high = min(placed), max(placed)
    span = high - low or 1.0
    return [round((value - low) / span * (cells - 1)) for value in placed]


def _side(number: int, top: float, bottom: float) -> str:
    return _usd(top) if number == 0 else _usd(bottom) if number == ROWS - 1 else ""


def _usd(usd: float) -> str:
    return per_million(round(usd * 1_000_000))


def _label(against: str) -> str:
    return "context in tokens" if against == "context" else against.replace(":", ": ")
