"""Holds that grow with the answer: never behind what was delivered, cut where there is no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.ledger import Counter, Hold, reserve
from harmost.core.budget.price import compile_price, cost_usd_nanos, worst_case_usd_nanos
from harmost.core.budget.progressive import Pace, ProgressiveHold, first_piece
from harmost.core.resources.kinds import Price
from harmost.core.usage import TokenUsage

PRICE = compile_price(Price(input="1.234567", output="2.718281"))
INPUT = 100


def begun(limit: int, output_tokens_max: int, pace: Pace, counter: Counter) -> ProgressiveHold:
    covered = first_piece(pace, output_tokens_max)
    worst = worst_case_usd_nanos(PRICE, input_tokens_max=INPUT, output_tokens_max=covered)
    hold = reserve(
        (counter,),
        usd_nanos=worst,
        tokens=INPUT + covered,
        minimum_usd_nanos=worst,
        minimum_tokens=INPUT + covered,
    )
    assert isinstance(hold, Hold)
    return ProgressiveHold(
        hold,
        PRICE,
        pace,
        input_tokens_max=INPUT,
        covered=covered,
        output_tokens_max=output_tokens_max,
    )


@given(
    limit=st.integers(300_000, 5_000_000),
    output_tokens_max=st.integers(1, 2_000),
    piece=st.integers(1, 300),
    slack=st.integers(1, 60),
    others=st.lists(st.integers(0, 50_000), max_size=30),
)
def test_what_is_delivered_is_held_and_the_slack_after_a_cut_too(
    limit: int, output_tokens_max: int, piece: int, slack: int, others: list[int]
) -> None:
    pace = Pace(piece, slack)
    counter = Counter(1, unit=1, limit=limit * 10, hard=True)
    growing = begun(limit, output_tokens_max, pace, counter)
    counter.limit_to(max(counter.held, limit), hard=True)
    delivered, taken = 0, 0
    while growing.delivered(delivered):
        delivered += 1
        if others and delivered % 50 == 0:  # others spend of the same budget meanwhile
            amount = min(others.pop(), max(0, counter.available))
            counter.lend(amount)
            taken += amount
    billed = min(output_tokens_max, delivered + slack)
    cost = cost_usd_nanos(PRICE, TokenUsage(input_tokens=INPUT, output_tokens=billed))
    assert cost <= growing.hold.usd_nanos
    growing.hold.settle(usd_nanos=cost, tokens=0)
    assert counter.debt == 0
    assert counter.used <= counter.limit
    assert delivered == output_tokens_max or delivered + slack >= growing.covered


def test_an_answer_that_fits_is_held_for_piece_by_piece() -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing = begun(0, 10_000, Pace(100, 20), counter)
    first = counter.held
    for delivered in range(1_000):
        assert growing.delivered(delivered)
    assert growing.covered < 1_000 + 100 + 20 + 50
    assert (
        first
        < counter.held
        < 5 * worst_case_usd_nanos(PRICE, input_tokens_max=INPUT, output_tokens_max=1_000)
    )


@pytest.mark.parametrize("output_tokens_max", [1, 5, 700])
def test_the_providers_own_cap_ends_an_answer_that_is_wholly_held(output_tokens_max: int) -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing = begun(0, output_tokens_max, Pace(), counter)
    delivered = 0
    while growing.delivered(delivered):
        delivered += 1
    assert delivered == output_tokens_max


def test_where_nothing_is_to_be_had_an_answer_ends_before_its_slack() -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing = begun(0, 10_000, Pace(100, 20), counter)
    counter.limit_to(counter.held, hard=True)
    assert growing.delivered(99)
    assert not growing.delivered(100)
