"""Input that nobody bounds is denied under a hard ceiling, and only there."""

from typing import Any

import pytest

from harmost.core.budget import input_bound as module
from harmost.core.budget.input_bound import (
    InputPart,
    ServerTool,
    check_bound,
    input_bound,
)
from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.price import TOKENS_MAX, compile_price, worst_case_usd_nanos
from harmost.core.chat import Message
from harmost.core.errors import BudgetExhausted
from harmost.core.resources.kinds import Price
from harmost.core.tokens.estimate import input_tokens_max

HI = (Message.of("user", "hi"),)


def limit(*, unit: Unit = Unit.USD_NANOS, hard: bool = True) -> BudgetLimit:
    return BudgetLimit(
        budget="b",
        tenant="a",
        node="tenant:a",
        unit=unit,
        window="day",
        limit=10**18,
        hard=hard,
        warn_at_permille=0,
    )


UNBOUNDED: list[dict[str, Any]] = [
    {"parts": [InputPart("image_url", None)]},
    {"parts": [InputPart("file_id", None)]},
    {"tools": [ServerTool("web_search", None, 1_000)]},
    {"tools": [ServerTool("web_search", 5)]},
]


@pytest.mark.parametrize("asked", UNBOUNDED)
@pytest.mark.parametrize("unit", [Unit.USD_NANOS, Unit.TOKENS])
def test_a_hard_ceiling_denies_input_without_a_bound(asked: dict[str, Any], unit: Unit) -> None:
    with pytest.raises(BudgetExhausted, match="could cost anything, and budget `b` of `tenant:a`"):
        check_bound(input_bound(HI, **asked), [limit(hard=False), limit(unit=unit)])


@pytest.mark.parametrize("asked", UNBOUNDED)
def test_soft_ceilings_and_those_of_requests_admit_it(asked: dict[str, Any]) -> None:
    check_bound(input_bound(HI, **asked), [limit(hard=False), limit(unit=Unit.REQUESTS)])
    check_bound(input_bound(HI, **asked), [])


def test_text_is_bounded_by_its_bytes() -> None:
    bound = input_bound(HI)
    assert bound == (input_tokens_max(HI), {}, ())
    check_bound(bound, [limit()])


def test_what_is_declared_is_held() -> None:
    bound = input_bound(
        HI,
        parts=[InputPart("image_url", 1_000), InputPart("file_id", 20)],
        tools=[ServerTool("web_search", 3, 500), ServerTool("web_search", 2, 10)],
    )
    assert bound.tokens_max == input_tokens_max(HI) + 1_020 + 1_520
    assert bound.tool_calls_max == {"web_search": 5}
    check_bound(bound, [limit()])
    price = compile_price(Price(input="1", output="0", tools={"web_search": "0.01"}))
    held = worst_case_usd_nanos(
        price,
        input_tokens_max=bound.tokens_max,
        output_tokens_max=0,
        tool_calls_max=bound.tool_calls_max,
    )
    assert held == bound.tokens_max * 1_000 + 5 * 10_000_000


@pytest.mark.parametrize(
    "asked",
    [
        {"parts": [InputPart("image_url", -1)]},
        {"parts": [InputPart("image_url", TOKENS_MAX + 1)]},
        {"tools": [ServerTool("t", -1, 1)]},
        {"tools": [ServerTool("t", 10**7, 1)]},
        {"tools": [ServerTool("t", 1, -1)]},
    ],
)
def test_a_bound_that_is_none_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state 0 to"):
        input_bound(HI, **asked)


def test_the_sum_stays_within_what_can_be_counted() -> None:
    parts = [InputPart("image_url", TOKENS_MAX)] * 3
    assert input_bound(HI, parts=parts).tokens_max == TOKENS_MAX


def test_every_public_name_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
