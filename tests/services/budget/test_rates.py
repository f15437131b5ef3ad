"""Limits of a minute on the real service: what programs and Routers may take, and what they are told."""

from typing import Any

import pytest
from lease_router import Router

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import BudgetExhausted, HarmostError, InvalidInput, RateLimited

CALLS, TOKENS = pb.UNIT_REQUESTS, pb.UNIT_TOKENS


@pytest.fixture
def minute(documents: Any, limit: Any) -> Any:
    """Publishes one document of rates for acme."""

    def publish(*limits: dict[str, Any]) -> None:
        documents.publish(minute=("acme", limit(*({"window": "minute", **one} for one in limits))))

    return publish


def ask(unit: Any = CALLS, **more: Any) -> pb.RateAsk:
    return pb.RateAsk(budget="minute", unit=unit, **{"per_minute": 600, "burst": 30, **more})


async def state(budget: Any) -> pb.Budget:
    answer = await budget.call("GetBudget", pb.GetBudgetRequest(name="minute"))
    return answer.budget


async def test_a_rate_admits_a_minutes_worth_and_then_what_comes(
    budget: Any, clock: Any, minute: Any
) -> None:
    minute({"requests": 4})
    for number in range(4):
        await budget.reserve(f"a{number}")
    with pytest.raises(RateLimited, match=r"lets 4 requests a minute through, has 0") as denial:
        await budget.reserve("b")
    assert denial.value.retry_after_s == pytest.approx(15, abs=0.01)
    assert denial.value.details["window"] == "minute"
    clock.move(seconds=14.9)
    with pytest.raises(RateLimited):
        await budget.reserve("c")
    clock.move(seconds=0.1)
    await budget.reserve("d")


async def test_nothing_is_admitted_twice_where_two_minutes_of_the_clock_meet(
    budget: Any, clock: Any, minute: Any
) -> None:
    minute({"requests": 60})
    clock.move(seconds=59)
    for number in range(60):
        await budget.reserve(f"a{number}")
    clock.move(seconds=2)
    await budget.reserve("b1")
    await budget.reserve("b2")
    with pytest.raises(RateLimited):
        await budget.reserve("b3")


async def test_what_is_not_used_comes_back_and_what_is_used_beyond_is_owed(
    budget: Any, clock: Any, minute: Any
) -> None:
    minute({"tokens": 600})
    await budget.reserve("a", 0, 600)
    await budget.settle("a", 0, 100)
    await budget.reserve("b", 0, 500)
    await budget.settle("b", 0, 560)
    assert (await state(budget)).rate.available == -60
    clock.move(seconds=6)
    with pytest.raises(RateLimited):
        await budget.reserve("c", 0, 1)
    clock.move(seconds=0.1)
    await budget.reserve("d", 0, 1)
    await budget.void("d")
    await budget.reserve("e", 0, 1)


async def test_less_is_held_where_there_is_no_more(budget: Any, minute: Any) -> None:
    minute({"tokens": 100})
    await budget.reserve("a", 0, 70)
    held = await budget.reserve("b", 0, 70, minimum=(0, 20))
    assert held.held.tokens == 30


async def test_what_can_never_be_granted_is_told_without_a_time(budget: Any, minute: Any) -> None:
    minute({"tokens": 100})
    with pytest.raises(BudgetExhausted, match="never 101 tokens at once: ask for less or raise"):
        await budget.reserve("a", 0, 101)
    assert (await budget.reserve("b", 0, 500, minimum=(0, 100))).held.tokens == 100


async def test_a_rate_that_denies_leaves_every_other_level_as_it_was(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(
        day=("acme", limit({"window": "day", "tokens": 1_000})),
        fast=("acme", limit({"window": "minute", "requests": 9})),
        slow=("acme/retail", limit({"window": "minute", "tokens": 10})),
    )
    await budget.reserve("a", 0, 10)
    with pytest.raises(RateLimited, match="budget `slow`"):
        await budget.reserve("b", 0, 5)
    assert await budget.balances("day") == (0, 10, 0)
    answer = await budget.call("GetBudget", pb.GetBudgetRequest(name="fast"))
    assert answer.budget.rate.available == 8


async def test_a_ceiling_that_denies_takes_nothing_of_a_rate(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(
        day=("acme", limit({"window": "day", "tokens": 5})),
        minute=("acme", limit({"window": "minute", "requests": 9})),
    )
    with pytest.raises(BudgetExhausted):
        await budget.reserve("a", 0, 6)
    assert (await state(budget)).rate.available == 9


async def test_a_soft_limit_of_a_minute_still_admits(budget: Any, minute: Any) -> None:
    minute({"requests": 1, "enforcement": "soft"})
    await budget.reserve("a")
    assert (await budget.reserve("b")).warnings
    assert not (await state(budget)).HasField("rate")


async def test_a_restart_knows_of_no_burst_that_was_left(
    started: Any, clock: Any, minute: Any
) -> None:
    minute({"requests": 60})
    async with started() as budget:
        await budget.reserve("a")
    async with started() as budget:
        with pytest.raises(RateLimited):
            await budget.reserve("b")
        clock.move(seconds=1)
        await budget.reserve("c")
        await budget.settle("a", 0, 0)
    clock.move(seconds=3_600)
    async with started() as budget:
        for number in range(60):
            await budget.reserve(f"d{number}")


async def test_a_router_has_a_share_and_the_rest_is_for_programs(budget: Any, minute: Any) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    (share,) = (await router.say(rates=[ask(hold=1, needed=1, minimum=1)])).rates
    assert (share.budget, share.unit, share.limit) == ("minute", CALLS, 600)
    assert share.granted >= 30
    assert (share.per_minute, share.burst, share.denied) == (450, 30, False)
    found = (await state(budget)).rate
    assert (found.available, found.lent_per_minute, found.lent_burst) == (600, 450, 30)
    for number in range(570):
        await budget.reserve(f"p{number}")
    with pytest.raises(RateLimited):
        await budget.reserve("one more")
    router.close()


async def test_the_same_message_again_pays_nothing_more(budget: Any, minute: Any) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    wanted = [ask(hold=1, needed=5, minimum=1)]
    first = await router.say(rates=wanted)
    again = await router.send(sequence=1, rates=wanted)
    assert again.rates == first.rates
    (second,) = (await router.say(rates=[ask(hold=1, level=30)])).rates
    assert second.granted == first.rates[0].granted
    router.close()


async def test_a_router_that_does_not_ask_gives_its_share_back(budget: Any, minute: Any) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    await router.say(rates=[ask(hold=1)])
    assert (await state(budget)).rate.lent_per_minute == 450
    await router.say()
    assert (await state(budget)).rate.lent_per_minute == 0
    router.close()


async def test_a_share_ends_with_its_router(budget: Any, clock: Any, minute: Any) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    await router.say(rates=[ask(hold=1)])
    router.close()
    clock.move(seconds=11.9)
    assert (await state(budget)).rate.lent_per_minute == 450
    clock.move(seconds=0.2)
    assert (await state(budget)).rate.lent_per_minute == 0


async def test_a_restart_knows_what_routers_were_told(
    started: Any, clock: Any, minute: Any
) -> None:
    minute({"requests": 600})
    async with started() as budget:
        router = Router(budget)
        await router.register()
        (before,) = (await router.say(rates=[ask(hold=1)])).rates
        router.close()
    clock.move(seconds=3)
    async with started() as budget:
        assert (await state(budget)).rate.lent_per_minute == 450
        again = Router(budget)
        again.epoch, again.sequence = router.epoch, router.sequence
        (after,) = (await again.say(rates=[ask(hold=1, level=30)])).rates
        assert (after.share_id, after.granted) == (before.share_id, before.granted)
        again.close()


async def test_a_rate_that_is_none_is_told_as_a_limit_that_is_not_known(
    budget: Any, minute: Any
) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    answer = await router.say(rates=[ask(TOKENS)])
    (unknown,) = answer.leases
    assert (unknown.counter_id, unknown.budget, unknown.unit) == (0, "minute", TOKENS)
    assert unknown.window == pb.WINDOW_MINUTE
    assert not answer.rates
    router.close()


@pytest.mark.parametrize(
    ("asks", "why"),
    [
        ([ask(), ask()], "asked for twice"),
        ([ask(needed=1, minimum=2)], "more is of use than is needed"),
        ([ask(per_minute=-1)], "per_minute"),
        ([ask(burst=10**18 + 1)], "burst"),
        ([ask(level=-(10**18) - 1)], "level"),
        ([ask(returned=-1)], "returned"),
        ([pb.RateAsk(unit=CALLS)], "budget"),
        ([ask(unit=9)], "unit"),
    ],
)
async def test_an_ask_that_cannot_be_is_refused_and_changes_nothing(
    budget: Any, minute: Any, asks: list[pb.RateAsk], why: str
) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    with pytest.raises(InvalidInput, match=why):
        await router.say(rates=asks)
    assert (await state(budget)).rate.available == 600
    router.close()


async def test_a_router_that_gives_back_what_it_never_had_gains_nothing(
    budget: Any, minute: Any
) -> None:
    minute({"requests": 600})
    router = Router(budget)
    await router.register()
    await router.say(rates=[ask(hold=1)])
    await router.say(rates=[ask(hold=1, level=30, returned=10**18)])
    assert (await state(budget)).rate.available <= 600
    router.close()


async def test_what_its_minute_used_is_shown_and_cannot_be_corrected(
    budget: Any, clock: Any, minute: Any
) -> None:
    minute({"tokens": 600})
    await budget.reserve("a", 0, 100)
    await budget.settle("a", 0, 40)
    shown = await state(budget)
    assert (shown.settled, shown.rate.available, shown.enforcement) == (
        40,
        560,
        pb.ENFORCEMENT_HARD,
    )
    wanted = pb.AdjustRequest(idempotency_key="k", budget="minute", delta=-1, reason="r")
    with pytest.raises(InvalidInput, match="it fills by itself, there is nothing to correct"):
        await budget.call("Adjust", wanted, "admin")


async def test_accounts_that_are_read_anew_have_no_fuller_rate(budget: Any, minute: Any) -> None:
    minute({"requests": 600})
    for number in range(3):
        await budget.reserve(f"a{number}")
    with pytest.raises(HarmostError, match="internal error"):
        await budget.store.run(lambda accounts, _: 1 // 0)
    assert (await state(budget)).rate.available <= 597
