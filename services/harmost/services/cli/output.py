"""How commands answer: JSON or tables on stdout, everything else on stderr."""

import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "emit", "line", "note", "progress", "safe", "table", "usd"]

WIDTH_NOT_A_TERMINAL = 200
TEXT_WIDTH_MIN = 8  # narrower columns of text cannot be read
EDGES, GAP = 2, 3  # around and between columns
# Control characters, C1 included: a model's answer must not drive the terminal. Tab and line end stay.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def emit(value: Any) -> None:
    """`value` as the one JSON document of this command."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def line(value: Any) -> None:
    """`value` as one JSON line of a stream."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> "Console":
    """A rich console; as wide as a table needs where no terminal is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_NOT_A_TERMINAL
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def note(text: str) -> None:
    """One dim line for people, on stderr."""
    from rich.text import Text

    console(stderr=True).print(Text(text, style="dim"), soft_wrap=True)


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int], None]]:
    """Hears how many `what` of how many are done, and shows it on a terminal's stderr."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.progress import Progress

    with Progress(console=console(stderr=True), transient=True) as shown:
        task = shown.add_task(what)
        yield lambda done, of: shown.update(task, completed=done, total=of)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: int = 0) -> None:
    """A table on stdout; the last `right` columns hold numbers, which are never broken.

    Text is folded, never cut, where the terminal is narrow; where even that is too wide, each row
    is told as lines of its own.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[safe(cell) for cell in row] for row in rows]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", collapse_padding=True)
    needed = EDGES + GAP * (len(columns) - 1)
    for i, column in enumerate(columns):
        numeric = i >= len(columns) - right
        width = _width_min(column, [row[i] for row in cells], numeric=numeric)
        needed += width
        made.add_column(
            column, justify="right" if numeric else "left", overflow="fold", min_width=width
        )
    out = console()
    if needed > out.width:
        _rows_as_lines(out, columns, cells)
        return
    for row in cells:
        made.add_row(*map(Text, row))
    out.print(made)


def _width_min(column: str, cells: Sequence[str], *, numeric: bool) -> int:
    """How narrow a column may become: words of its head whole, numbers whole."""
    longest = max(map(len, cells), default=0)
    head = max(map(len, column.split()), default=0)
    return max(head, longest if numeric else min(longest, TEXT_WIDTH_MIN))


def _rows_as_lines(out: "Console", columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.text import Text

    width = max(map(len, columns))
    for number, row in enumerate(cells):
        if number:
            out.print()
        for column, cell in zip(columns, row, strict=True):
            if cell:
                head = Text(f"{column:{width}}  ", style="bold")
                out.print(head + Text(cell), soft_wrap=True)


def usd(nanos: int) -> str:
    """Nano-USD for people: exact, without needless zeros, at least cents."""
    text = f"{Decimal(nanos) / 1_000_000_000:.9f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}".replace("$-", "-$")


def safe(text: str) -> str:
    """`text` without what could drive a terminal."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
