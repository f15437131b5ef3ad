"""Input that nobody bounds is denied under a hard ceiling, and only there."""

from typing import Any

import pytest

from harmost.core.budget import input_bound as module
from harmost.core.budget.input_bound import (
    check_bound,
    input_bound,
    priced,
)
from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.price import TOKENS_MAX, compile_price, worst_case_usd_nanos
from harmost.core.errors import BudgetExhausted
from harmost.core.resources.kinds import Price, ServerTool
from harmost.core.tokens.estimate import bytes_bound

HI = bytes_bound(2, 1)


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
    {"media": ["image"]},
    {"media": ["file", "image"], "media_tokens_max": {"image": 9}},
    {"tools": {"web_search": ServerTool(tokens_max_each=1_000)}},
    {"tools": {"web_search": ServerTool(uses_max=5)}},
]


@pytest.mark.parametrize("asked", UNBOUNDED)
@pytest.mark.parametrize("unit", [Unit.USD_NANOS, Unit.TOKENS])
def test_a_hard_ceiling_denies_input_without_a_bound(asked: dict[str, Any], unit: Unit) -> None:
    with pytest.raises(
        BudgetExhausted, match="of model `m` could cost anything, and budget `b` of `tenant:a`"
    ):
        check_bound(
            input_bound(HI, **asked).unbounded, [limit(hard=False), limit(unit=unit)], model="m"
        )


@pytest.mark.parametrize("asked", UNBOUNDED)
def test_soft_ceilings_and_those_of_requests_admit_it(asked: dict[str, Any]) -> None:
    unbounded = input_bound(HI, **asked).unbounded
    assert unbounded
    check_bound(unbounded, [limit(hard=False), limit(unit=Unit.REQUESTS)], model="m")
    check_bound(unbounded, [], model="m")


@pytest.mark.parametrize("asked", UNBOUNDED)
def test_a_mission_that_bounds_its_cost_denies_it(asked: dict[str, Any]) -> None:
    with pytest.raises(BudgetExhausted, match=r"`cost\.usd_max` of profile `p`") as denied:
        check_bound(input_bound(HI, **asked).unbounded, [], model="m", mission="p")
    assert denied.value.details["reason"] == "input_unbounded"


def test_a_price_that_does_not_tell_a_tools_fee_is_unknown() -> None:
    price = compile_price(Price(input="1", output="1", tools={"fetch": "0.02"}))
    fetches = input_bound(HI, tools={"fetch": ServerTool(1, 1)})
    assert priced(price, fetches) is price
    assert priced(price, input_bound(HI, tools={"web_search": ServerTool(1, 1)})) is None
    assert priced(price, input_bound(HI)) is price
    assert priced(None, fetches) is None


def test_text_is_bounded_by_its_bytes() -> None:
    bound = input_bound(HI)
    assert bound == (HI, {}, ())
    check_bound(bound.unbounded, [limit()], model="m")


def test_what_is_declared_is_held() -> None:
    bound = input_bound(
        HI,
        media=["image", "image", "file"],
        media_tokens_max={"image": 500, "file": 20, "audio": 9},
        tools={"web_search": ServerTool(3, 500), "fetch": ServerTool(2, 10)},
    )
    assert bound.tokens_max == HI + 1_020 + 1_520
    assert bound.tool_calls_max == {"web_search": 3, "fetch": 2}
    check_bound(bound.unbounded, [limit()], model="m")
    price = compile_price(
        Price(input="1", output="0", tools={"web_search": "0.01", "fetch": "0.02"})
    )
    held = worst_case_usd_nanos(
        price,
        input_tokens_max=bound.tokens_max,
        output_tokens_max=0,
        tool_calls_max=bound.tool_calls_max,
    )
    assert held == bound.tokens_max * 1_000 + 3 * 10_000_000 + 2 * 20_000_000


@pytest.mark.parametrize(
    "asked",
    [
        {"media": ["image"], "media_tokens_max": {"image": -1}},
        {"media": ["image"], "media_tokens_max": {"image": TOKENS_MAX + 1}},
        {"tools": {"t": ServerTool(-1, 1)}},
        {"tools": {"t": ServerTool(10**7, 1)}},
        {"tools": {"t": ServerTool(1, -1)}},
    ],
)
def test_a_bound_that_is_none_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state 0 to"):
        input_bound(HI, **asked)


def test_the_sum_stays_within_what_can_be_counted() -> None:
    bound = input_bound(HI, media=["image"] * 3, media_tokens_max={"image": TOKENS_MAX})
    assert bound.tokens_max == TOKENS_MAX


def test_every_public_name_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
