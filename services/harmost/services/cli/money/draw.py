"""Bars and sparklines as rich markup, and amounts and spans as people read them. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from harmost.services.cli.output import safe, usd

__all__ = ["BAR_CELLS", "Segment", "amount", "bar", "escaped", "per_hour", "span", "spark"]

BAR_CELLS = 24
BLOCKS = "▁▂▃▄▅▆▇█"


class Segment(NamedTuple):
    """A part of a bar: how much of the whole, how it is drawn, in which colour."""

    amount: int
    mark: str
    colour: str


def bar(segments: Sequence[Segment], whole: int, *, cells: int = BAR_CELLS) -> str:
    """`segments` one after the other, the rest of `whole` empty. What is not 0 shows at least once
    while there is room; more than the whole fills the bar."""
    drawn: list[str] = []
    used, amount_so_far = 0, 0
    for amount, mark, colour in segments:
        if amount <= 0:
            continue
        amount_so_far += amount
        end = cells if whole <= 0 else min(amount_so_far * cells // whole, cells)
        count = min(max(end - used, 1), cells - used)
        if count:
            drawn.append(f"[{colour}]{mark * count}[/{colour}]")
            used += count
    return f"{''.join(drawn)}[dim]{'·' * (cells - used)}[/dim]"


def spark(values: Sequence[int]) -> str:
    """`values` as a row of blocks, the largest the highest; what is 0 stays blank."""
    top = max(values, default=0)
    if top <= 0:
        return " " * len(values)
    return "".join(
        BLOCKS[min(value * len(BLOCKS) // top, len(BLOCKS) - 1)] if value > 0 else " "
        for value in values
    )


def amount(unit: Any, value: int) -> str:
    """`value` in a unit of the Budget contract."""
    from harmost.budget.v1 import budget_pb2

    if unit == budget_pb2.UNIT_USD_NANOS:
        return usd(value)
    return f"{value:,} {budget_pb2.Unit.Name(unit).removeprefix('UNIT_').lower()}"


def per_hour(unit: Any, value: int) -> str:
    """A rate; money to the cent, or to two digits where it is less."""
    from harmost.budget.v1 import budget_pb2

    if unit != budget_pb2.UNIT_USD_NANOS:
        return f"{amount(unit, value)}/h"
    decimals = 2
    while value and value < 10 ** (10 - decimals) and decimals < 9:
        decimals += 1
    return f"${value / 1e9:,.{decimals}f}/h"


def span(seconds: int) -> str:
    """ "3 d 4 h", "4 h 5 min", "5 min", "40 s"."""
    days, rest = divmod(max(seconds, 0), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days:,} d {hours} h" if hours else f"{days:,} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{left} s"


def escaped(text: str) -> str:
    """`text` of someone else, harmless to the terminal and to rich."""
    from rich.markup import escape

    return escape(safe(text))
