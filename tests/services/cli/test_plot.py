"""What `harmost usage --plot` draws says what the rows say: heights, gaps, colours, figures."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from harmost.services.cli.money.draw import BLOCKS
from harmost.services.cli.plot import COLOURS, Series, bars, columns, largest, legend, sparks
from harmost.services.cli.usage_plot import drawn
from harmost.telemetry.v1 import telemetry_pb2

T0 = datetime(2026, 11, 20, tzinfo=UTC)


def text_of(line: str) -> str:
    return Text.from_markup(line).plain


def row(*keys: str, cost: int = 0, missions: int = 1) -> telemetry_pb2.UsageRow:
    return telemetry_pb2.UsageRow(keys=keys, cost_usd_nanos=cost, missions=missions)


def hour(number: int) -> str:
    return f"{T0 + timedelta(hours=number):%Y-%m-%dT%H:00:00Z}"


def heights(lines: list[str], margin: int, count: int, each: int) -> list[int]:
    """How many eighths of cells each column fills."""
    found = [0] * count
    for line in lines[:-1]:
        text = text_of(line)[margin:]
        for column in range(count):
            mark = text[column * each : (column + 1) * each]
            assert mark == mark[:1] * len(mark)
            found[column] += BLOCKS.index(mark[0]) + 1 if mark.strip() else 0
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40), st.integers(30, 120))
def test_a_column_is_as_high_as_its_value(values: list[int], width: int) -> None:
    lines = columns([Series("a", tuple(values))], ["t"] * len(values), width=width, show=str)
    assert len(lines) == 10 + 1
    assert all(len(text_of(line)) <= width for line in lines[:-1])
    cells = max(width - len(str(sum(values))) - 1, 1)
    joined = -(-len(values) // cells)
    sums = [sum(values[i : i + joined]) for i in range(0, len(values), joined)]
    each = max(1, min(cells // len(sums), 6))
    top = max(sums)
    margin = max(len(str(top)), 1) + 1
    expected = [-(-one * 80 // top) if top else 0 for one in sums]
    assert heights(lines, margin, len(sums), each) == expected
    assert text_of(lines[0]).startswith(str(top))


def test_stacked_series_part_where_one_ends() -> None:
    series = [Series("low", (4,)), Series("high", (12,))]
    lines = columns(series, ["now"], width=20, show=str, rows=2)
    # 16 eighths: four of the first in the lower cell, the other colour above.
    assert f"[{COLOURS[0]} on {COLOURS[1]}]{BLOCKS[3]}[/]" in lines[1]
    assert f"[{COLOURS[1]}]█[/]" in lines[0]


def test_the_smallest_of_many_series_become_one() -> None:
    series = [Series(f"s{n}", (n, 1)) for n in range(9)]
    shown = largest(series)
    assert [one.name for one in shown] == ["s8", "s7", "s6", "s5", "s4", "s3", "3 others"]
    assert shown[-1].values == (0 + 1 + 2, 3)
    assert sum(one.total for one in shown) == sum(one.total for one in series)
    assert len(legend(shown, str)) == 7


def test_hours_in_which_nothing_happened_stand_between_the_others() -> None:
    rows = [row(hour(0), cost=10**9), row(hour(3), cost=2 * 10**9)]
    lines = drawn(["hour"], rows, "cost", width=80, coloured=True)
    assert heights(lines, len("$2.00 "), 4, 6) == [40, 0, 0, 80]
    assert text_of(lines[-1]).split() == ["2026-11-20", "00:00", "…", "2026-11-20", "03:00"]


def test_without_colours_each_series_has_a_line() -> None:
    rows = [row(hour(n), name, cost=(n + 1) * 10**9) for n in range(3) for name in ("a", "b")]
    lines = [
        text_of(line) for line in drawn(["hour", "model"], rows, "cost", width=80, coloured=False)
    ]
    assert lines == ["a  ▃▆█  $6.00", "b  ▃▆█  $6.00", "2026-11-20 00:00 … 2026-11-20 02:00"]


def test_without_a_time_there_is_a_bar_for_each_group_the_largest_first() -> None:
    rows = [row("acme", f"m{n}", cost=n * 10**9) for n in range(33)]
    lines = [
        text_of(line) for line in drawn(["tenant", "model"], rows, "cost", width=80, coloured=True)
    ]
    assert len(lines) == 31
    assert lines[0].startswith("acme · m32  $32.00  ██")
    assert lines[-1] == "and 3 more, together $3.00"


@pytest.mark.parametrize(
    ("metric", "figure"),
    [("cost", "$0.000000007"), ("tokens", "5"), ("missions", "2"), ("denied", "1")],
)
def test_each_metric_is_the_rows_own(metric: str, figure: str) -> None:
    one = row("acme", cost=7, missions=2)
    one.denials = 1
    one.usage.input_tokens, one.usage.output_tokens = 2, 3
    (line,) = drawn(["tenant"], [one], metric, width=80, coloured=True)
    assert text_of(line).split()[1] == figure


def test_nothing_is_drawn_of_nothing_and_zeros_are_drawn_flat() -> None:
    assert drawn(["hour"], [], "cost", width=80, coloured=True) == []
    lines = drawn(["hour"], [row(hour(0))], "cost", width=80, coloured=True)
    assert heights(lines, len("$0.00 "), 1, 6) == [0]
    assert sparks([Series("a", (0, 0))], str, width=40) == ["a      0"]


def test_names_drive_neither_terminal_nor_markup() -> None:
    items: list[Any] = [("[red]x\x1b[2J", 1)]
    assert text_of(bars(items, str, width=60)[0]).startswith("[red]x\N{REPLACEMENT CHARACTER}[2J")
