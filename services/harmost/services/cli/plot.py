"""Columns over time and bars, as rich markup. Pure: numbers and names come in, lines go out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harmost.services.cli.money.draw import BLOCKS, Segment, bar, escaped, spark

__all__ = ["COLOURS", "OTHERS", "Series", "bars", "columns", "largest", "legend", "sparks"]

# The rest is one series: more colours cannot be told apart.
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
OTHERS = "white"
ROWS = 10
EIGHTHS = len(BLOCKS)
BUCKET_CELLS_MAX = 6


class Series(NamedTuple):
    """Values of one name, one for each bucket of time, none negative."""

    name: str
    values: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.values)


def largest(series: Sequence[Series], *, others: str = "others") -> list[Series]:
    """As many of `series` as there are colours, the largest first; what is left as one more."""
    ranked = sorted(series, key=lambda one: (-one.total, one.name))
    shown, rest = ranked[: len(COLOURS)], ranked[len(COLOURS) :]
    if rest:
        sums = tuple(map(sum, zip(*(one.values for one in rest), strict=True)))
        shown.append(Series(f"{len(rest)} {others}", sums))
    return shown


def columns(
    series: Sequence[Series],
    labels: Sequence[str],
    *,
    width: int,
    show: Callable[[int], str],
    rows: int = ROWS,
) -> list[str]:
    """A chart of `series`, stacked, `labels` naming its buckets, in lines of at most `width` cells.

    Buckets that do not fit are joined, as many to a column as it takes.
    """
    # The scale takes cells, and is the wider the more buckets are joined: all in one at the most.
    widest = show(sum(one.total for one in series))
    cells = max(width - len(widest) - 1, 1)
    stacks = _stacks(series, -(-len(labels) // cells))
    top = max((stack[-1] for stack in stacks if stack), default=0)
    top_text = show(top)
    each = max(1, min(cells // max(len(stacks), 1), BUCKET_CELLS_MAX))
    margin = max(len(top_text), len(show(0)))
    lines: list[str] = []
    for row in reversed(range(rows)):
        scale = top_text if row == rows - 1 else show(0) if row == 0 else ""
        drawn = "".join(_cell(stack, row, rows * EIGHTHS, top) * each for stack in stacks)
        lines.append(f"[dim]{scale:>{margin}}[/dim] {drawn}")
    axis = _axis(labels, each * len(stacks))
    return [*lines, f"[dim]{' ' * margin} {axis}[/dim]"]


def legend(series: Sequence[Series], show: Callable[[int], str]) -> list[str]:
    """Which colour is whose, and how much it is."""
    wide = max((len(one.name) for one in series), default=0)
    return [
        f"[{_colour(index)}]█[/{_colour(index)}] {escaped(one.name):{wide}}  {show(one.total)}"
        for index, one in enumerate(series)
    ]


def sparks(series: Sequence[Series], show: Callable[[int], str], *, width: int) -> list[str]:
    """Each series on a line of its own, for where there are no colours."""
    wide = max((len(one.name) for one in series), default=0)
    lines: list[str] = []
    for one in series:
        joined = -(-len(one.values) // max(width - wide - 24, 1))
        values = [sum(one.values[i : i + joined]) for i in range(0, len(one.values), joined)]
        lines.append(f"{escaped(one.name):{wide}}  {spark(values)}  {show(one.total)}")
    return lines


def bars(items: Sequence[tuple[str, int]], show: Callable[[int], str], *, width: int) -> list[str]:
    """A bar for each of `items`, as long as it is large."""
    wide = max((len(name) for name, _ in items), default=0)
    texts = [show(value) for _, value in items]
    figures = max(map(len, texts), default=0)
    cells = max(min(width - wide - figures - 4, 60), 8)
    top = max((value for _, value in items), default=0)
    return [
        f"{escaped(name):{wide}}  {text:>{figures}}  "
        f"{bar([Segment(value, '█', COLOURS[0])], max(top, 1), cells=cells)}"
        for (name, value), text in zip(items, texts, strict=True)
    ]


def _stacks(series: Sequence[Series], joined: int) -> list[list[int]]:
    """For each column the height of each series above those below it."""
    count = len(series[0].values) if series else 0
    stacks: list[list[int]] = []
    for start in range(0, count, joined):
        height, stack = 0, list[int]()
        for one in series:
            height += sum(one.values[start : start + joined])
            stack.append(height)
        stacks.append(stack)
    return stacks


def _cell(stack: Sequence[int], row: int, eighths: int, top: int) -> str:
    """One cell of a column: at the most two colours, parted where one series ends."""
    if not top:
        return " "
    low, high = row * EIGHTHS, (row + 1) * EIGHTHS
    ends = [min(-(-height * eighths // top), eighths) for height in stack]
    inside = [
        (index, min(end, high) - max(begin, low))
        for index, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        if end > low and begin < high and end > begin
    ]
    if not inside:
        return " "
    lower, filled = inside[0]
    if len(inside) == 1 and filled < EIGHTHS:
        return f"[{_colour(lower)}]{BLOCKS[filled - 1]}[/]"
    if len(inside) == 1:
        return f"[{_colour(lower)}]█[/]"
    upper, _ = max(inside[1:], key=lambda part: part[1])
    return f"[{_colour(lower)} on {_colour(upper)}]{BLOCKS[filled - 1]}[/]"


def _axis(labels: Sequence[str], cells: int) -> str:
    """The first label, the last, and the middle one where there is room."""
    if not labels:
        return ""
    first, last = labels[0], labels[-1]
    if len(labels) == 1 or len(first) + len(last) + 2 > cells:
        return first if len(labels) == 1 else f"{first} … {last}"
    middle = labels[len(labels) // 2]
    at = (cells - len(middle)) // 2
    if at < len(first) + 2 or at + len(middle) + 2 > cells - len(last):
        return f"{first}{last:>{cells - len(first)}}"
    return f"{first:{at}}{middle}{last:>{cells - at - len(middle)}}"


def _colour(index: int) -> str:
    return COLOURS[index] if index < len(COLOURS) else OTHERS
