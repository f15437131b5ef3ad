"""Bars, sparklines, rates and spans."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.budget.v1 import budget_pb2 as pb
from harmost.services.cli.money.draw import BAR_CELLS, Segment, bar, escaped, per_hour, span, spark

MARKS = "█▓▒░"


def cells(drawn: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", drawn)


@given(st.lists(st.integers(-5, 10**18), max_size=4), st.integers(0, 10**18))
def test_a_bar_is_always_as_long(amounts: list[int], whole: int) -> None:
    segments = [Segment(one, mark, "red") for one, mark in zip(amounts, MARKS, strict=False)]
    assert len(cells(bar(segments, whole))) == BAR_CELLS


def test_what_is_not_nothing_shows() -> None:
    assert cells(bar([Segment(1, "█", "red"), Segment(1, "▓", "red")], 10**9)).startswith("█▓··")


def test_more_than_the_whole_fills_the_bar() -> None:
    assert cells(bar([Segment(200, "█", "red")], 100)) == "█" * BAR_CELLS


def test_half_is_half() -> None:
    assert cells(bar([Segment(50, "█", "red")], 100)) == "█" * 12 + "·" * 12


def test_the_highest_stands_highest_and_nothing_is_blank() -> None:
    assert spark([0, 1, 4, 8]) == " ▂▅█"
    assert spark([0, 0]) == "  "
    assert spark([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00/h"), (1_500_000_000, "$1.50/h"), (12_345, "$0.000012/h"), (1, "$0.000000001/h")],
)
def test_a_rate_shows_at_least_two_digits(value: int, text: str) -> None:
    assert per_hour(pb.UNIT_USD_NANOS, value) == text


def test_other_units_have_rates_too() -> None:
    assert per_hour(pb.UNIT_TOKENS, 1_234) == "1,234 tokens/h"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (3_600, "1 h"), (90_000, "1 d 1 h"), (-3, "0 s")],
)  # fmt: skip
def test_a_span_reads_as_people_say_it(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_a_name_can_neither_drive_the_terminal_nor_the_markup() -> None:
    assert escaped("a\x1b[31m[red]") == "a�[31m\\[red]"
