"""Holds that grow with the answer: never behind what was delivered, cut where there is no more."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.ledger import Counter, Hold, reserve
from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import compile_price, cost_usd_nanos, worst_case_usd_nanos
from harmost.core.budget.progressive import (
    BYTES_MAX,
    Pace,
    ProgressiveHold,
    bills_unseen,
    first_piece,
)
from harmost.core.resources.kinds import ModelSpec, Price
from harmost.core.usage import TokenUsage

PRICE = compile_price(Price(input="1.234567", output="2.718281"))
PRICED = Price(input="1", output="2")
INPUT = 100


def begun(
    limit: int, output_tokens_max: int, pace: Pace, counter: Counter
) -> tuple[ProgressiveHold, Hold]:
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
    growing = ProgressiveHold(
        lambda more: hold.extend(usd_nanos=more.usd_nanos, tokens=more.tokens),
        PRICE,
        pace,
        input_tokens_max=INPUT,
        covered=covered,
        output_tokens_max=output_tokens_max,
    )
    return growing, hold


def delivered_by(growing: ProgressiveHold, size: int, *, upto: int) -> int:
    """The bytes of an answer in texts of `size` bytes that go on, as the exchange counts them."""
    delivered, reach = 0, 0
    while delivered + size <= upto:
        if delivered + size > reach:
            reach = growing.reach(delivered + size)
        if delivered + size > reach:
            break
        delivered += size
    return delivered


@given(
    limit=st.integers(300_000, 5_000_000),
    output_tokens_max=st.integers(1, 2_000),
    piece=st.integers(1, 300),
    slack=st.integers(1, 60),
    size=st.integers(1, 40),
    others=st.lists(st.integers(0, 50_000), max_size=30),
)
def test_what_is_delivered_is_held_and_the_slack_after_a_cut_too(
    limit: int, output_tokens_max: int, piece: int, slack: int, size: int, others: list[int]
) -> None:
    pace = Pace(piece, slack)
    counter = Counter(1, unit=1, limit=limit * 10, hard=True)
    growing, hold = begun(limit, output_tokens_max, pace, counter)
    counter.limit_to(max(counter.held, limit), hard=True)
    delivered, reach = 0, 0
    while delivered < output_tokens_max:
        text = min(size, output_tokens_max - delivered)
        if delivered + text > reach:
            reach = growing.reach(delivered + text)
        if delivered + text > reach:
            break
        delivered += text
        if others and delivered % 50 < size:  # others spend of the same budget meanwhile
            counter.lend(min(others.pop(), max(0, counter.available)))
    billed = min(output_tokens_max, delivered + slack)
    cost = cost_usd_nanos(PRICE, TokenUsage(input_tokens=INPUT, output_tokens=billed))
    assert cost <= hold.usd_nanos
    hold.settle(usd_nanos=cost, tokens=0)
    assert counter.debt == 0
    assert counter.used <= counter.limit
    assert delivered == output_tokens_max or delivered + slack + size > growing.covered


def test_an_answer_that_fits_is_held_for_piece_by_piece() -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing, _ = begun(0, 10_000, Pace(100, 20), counter)
    first = counter.held
    assert delivered_by(growing, 1, upto=1_000) == 1_000
    assert growing.covered < 1_000 + 100 + 20 + 50
    assert (
        first
        < counter.held
        < 5 * worst_case_usd_nanos(PRICE, input_tokens_max=INPUT, output_tokens_max=1_000)
    )


@pytest.mark.parametrize("output_tokens_max", [1, 5, 700])
def test_the_providers_own_cap_ends_an_answer_that_is_wholly_held(output_tokens_max: int) -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing, _ = begun(0, output_tokens_max, Pace(), counter)
    assert growing.whole()
    assert growing.reach(1) == BYTES_MAX


def test_where_nothing_is_to_be_had_an_answer_ends_before_its_slack() -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing, _ = begun(0, 10_000, Pace(100, 20), counter)
    counter.limit_to(counter.held, hard=True)
    assert delivered_by(growing, 1, upto=10_000) == 100
    assert not growing.whole()


def test_a_text_of_many_pieces_is_held_for_at_once() -> None:
    counter = Counter(1, unit=1, limit=10**12, hard=True)
    growing, _ = begun(0, 10_000, Pace(100, 20), counter)
    assert growing.reach(5_000) >= 5_000
    assert 5_000 + 20 < growing.covered <= 5_000 + 20 + 100


@given(st.integers(1, 5_000))
def test_the_most_that_is_to_be_had_is_found_by_few_asks(available: int) -> None:
    asked = []

    def extend(more: Amount) -> bool:
        asked.append(more.tokens)
        return sum(taken) + more.tokens <= available and not taken.append(more.tokens)

    taken: list[int] = []
    growing = ProgressiveHold(
        extend, None, Pace(), input_tokens_max=1, covered=640, output_tokens_max=10_000
    )
    assert not growing.whole()
    assert sum(taken) == available
    assert len(asked) <= 28


@pytest.mark.parametrize(
    ("unseen", "told"),
    [
        (False, {}),
        (False, {"price": (PRICED, PRICED)}),
        (True, {"capabilities": ("chat", "reasoning")}),
        (True, {"price": Price(input="1", output="2", reasoning_output="3")}),
        (True, {"price": (PRICED, Price(input="1", output="2", reasoning_output="3"))}),
    ],
)
def test_a_model_that_reasons_is_told_by_its_document(unseen: bool, told: dict[str, Any]) -> None:
    assert bills_unseen(ModelSpec(provider="p", vendor_model_id="m", **told)) is unseen
