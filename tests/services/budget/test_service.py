"""The Budget service over gRPC: holds, settlements, who may see what."""

import logging
from typing import Any

import pytest

from harmost.budget.v1 import budget_pb2 as pb
from harmost.common.v1 import usage_pb2
from harmost.core.errors import (
    BudgetExhausted,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotPossibleNow,
    RateLimited,
)

HOUR_S = 3_600
DAY_S = 24 * HOUR_S


async def test_a_hold_becomes_what_was_used(budget: Any) -> None:
    answer = await budget.reserve("a", 60)
    assert answer.held.usd_nanos == 60
    assert await budget.balances("day") == (0, 60, 0)
    await budget.settle("a", 25)
    assert await budget.balances("day") == (25, 0, 0)


async def test_a_void_gives_everything_back(budget: Any) -> None:
    await budget.reserve("a", 60)
    await budget.void("a")
    assert await budget.balances("day") == (0, 0, 0)


async def test_every_level_is_charged_the_same(budget: Any, documents: Any, limit: Any) -> None:
    documents.publish(
        root=("", limit({"window": "day", "usd": "1"})),
        top=("acme", limit({"window": "day", "usd": "1"})),
        left=("acme/retail", limit({"window": "day", "usd": "1"})),
        right=("acme/bank", limit({"window": "day", "usd": "1"})),
        user=("acme", limit({"window": "day", "usd": "1"}, end_user="ann")),
    )
    await budget.reserve("a", 10, end_user_id="ann")
    await budget.reserve("b", 20, tenant="acme/bank")
    await budget.settle("a", 7)
    balances = {
        name: await budget.balances(name) for name in ("root", "top", "left", "right", "user")
    }
    assert balances == {
        "root": (7, 20, 0),
        "top": (7, 20, 0),
        "left": (7, 0, 0),
        "right": (0, 20, 0),
        "user": (7, 0, 0),
    }


async def test_what_does_not_fit_at_one_level_is_held_at_none(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(
        top=("acme", limit({"window": "day", "usd": "1"})),
        leaf=("acme/retail", limit({"window": "month", "usd": "0.000000005"})),
    )
    with pytest.raises(BudgetExhausted) as denial:
        await budget.reserve("a", 6)
    assert await budget.balances("top") == (0, 0, 0)
    assert denial.value.details == {
        "budget": "leaf",
        "node": "tenant:acme/retail",
        "unit": "usd_nanos",
        "window": "month",
        "limit": "5",
        "available": "5",
        "requested": "6",
        "resets_at": "2026-12-01T00:00:00Z",
    }
    assert denial.value.message == (
        "budget `leaf` of `tenant:acme/retail` has 0.000000005 US dollars left of "
        "0.000000005 US dollars this month and 0.000000006 US dollars are needed: "
        "wait until `2026-12-01T00:00:00Z` or raise its limit"
    )


async def test_less_is_held_down_to_the_minimum(budget: Any) -> None:
    await budget.reserve("a", 70)
    answer = await budget.reserve("b", 60, minimum=(30, 0))
    assert answer.held.usd_nanos == 30
    with pytest.raises(BudgetExhausted):
        await budget.reserve("c", 60, minimum=(1, 0))


async def test_a_minimum_above_the_amount_is_refused(budget: Any) -> None:
    with pytest.raises(InvalidInput, match="`minimum` is more than"):
        await budget.reserve("a", 10, minimum=(11, 0))


async def test_the_last_holds_go_to_exactly_as_many_as_fit(budget: Any, refused: Any) -> None:
    admitted, errors = await refused(*(budget.reserve(f"a{i}", 7) for i in range(64)))
    assert admitted == 100 // 7
    assert {type(error) for error in errors} == {BudgetExhausted}
    assert await budget.balances("day") == (0, 98, 0)


async def test_tokens_and_requests_are_counted_too(budget: Any, documents: Any, limit: Any) -> None:
    documents.publish(
        tokens=("acme", limit({"window": "hour", "tokens": 10})),
        calls=("acme", limit({"window": "minute", "requests": 2})),
    )
    await budget.reserve("a", 0, 5)
    await budget.settle("a", 0, 4)
    with pytest.raises(BudgetExhausted, match=r"6 tokens left of 10 tokens this hour and 7 tok"):
        await budget.reserve("b", 0, 7)
    await budget.reserve("c", 0, 6)
    with pytest.raises(RateLimited) as denial:
        await budget.reserve("d", 0, 0)
    assert denial.value.details["budget"] == "calls"


async def test_a_soft_budget_admits_and_warns(budget: Any, documents: Any, limit: Any) -> None:
    documents.publish(
        soft=("acme", limit({"window": "day", "usd": "0.000000010", "enforcement": "soft"}))
    )
    assert not (await budget.reserve("a", 7)).warnings
    (warning,) = (await budget.reserve("b", 8)).warnings
    assert (warning.budget, warning.used_permille) == ("soft", 1_500)
    assert warning.resets_at.ToJsonString() == "2026-11-19T00:00:00Z"


async def test_a_soft_ceiling_below_a_hard_one_shares_its_counter(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(
        both=(
            "acme",
            limit(
                {"window": "day", "tokens": 10, "enforcement": "soft", "warn_at_percent": 0},
                {"window": "day", "tokens": 20, "warn_at_percent": 0},
            ),
        )
    )
    assert not (await budget.reserve("a", 0, 10)).warnings
    (warning,) = (await budget.reserve("b", 0, 10)).warnings
    assert warning.used_permille == 2_000
    with pytest.raises(BudgetExhausted) as denial:
        await budget.reserve("c", 0, 1)
    assert denial.value.details["limit"] == "20"
    answer = await budget.call("GetBudget", pb.GetBudgetRequest(name="both"))
    assert [(each.limit, each.held) for each in answer.limits] == [(20, 20), (10, 20)]


async def test_a_hard_budget_warns_from_its_threshold_on(budget: Any) -> None:
    assert not (await budget.reserve("a", 79)).warnings
    (warning,) = (await budget.reserve("b", 1)).warnings
    assert (warning.budget, warning.used_permille) == ("day", 800)


async def test_an_unknown_price_is_denied_by_a_hard_budget_of_money(budget: Any) -> None:
    with pytest.raises(BudgetExhausted) as denial:
        await budget.reserve("a", price_unknown=True)
    assert denial.value.message == (
        "the price of model `haiku` is not known: add `price` to its Model document"
    )
    assert denial.value.details["reason"] == "price_unknown"


async def test_an_unknown_price_passes_where_only_tokens_are_bounded(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(tokens=("acme", limit({"window": "day", "tokens": 10})))
    answer = await budget.reserve("a", 0, 5, price_unknown=True)
    assert answer.held.price_unknown
    await budget.settle("a", 0, 5, price_unknown=True)
    assert await budget.balances("tokens") == (5, 0, 0)


async def test_a_price_lost_after_the_hold_settles_the_hold(budget: Any) -> None:
    await budget.reserve("a", 60)
    await budget.settle("a", price_unknown=True)
    assert await budget.balances("day") == (60, 0, 0)


async def test_what_is_settled_above_the_hold_is_debt_and_alarmed(
    budget: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await budget.reserve("a", 10)
    with caplog.at_level(logging.WARNING):
        answer = await budget.settle("a", 35)
    assert answer.debt_usd_nanos == 25
    assert await budget.balances("day") == (35, 0, 25)
    assert "settled 25 nanodollars and 0 tokens above its hold" in caplog.text
    assert [entry.debt_usd_nanos for entry in await budget.entries()] == [0, 25]


async def test_the_same_call_again_returns_the_first_answer(budget: Any) -> None:
    first = await budget.reserve("a", 85)
    assert await budget.reserve("a", 85) == first
    assert first.warnings
    settled = await budget.settle("a", 20)
    assert await budget.settle("a", 20) == settled
    await budget.reserve("b", 10)
    voided = await budget.void("b")
    assert await budget.void("b") == voided
    assert await budget.balances("day") == (20, 0, 0)
    assert len(await budget.entries()) == 4


async def test_the_same_call_at_once_is_one_hold(budget: Any, refused: Any) -> None:
    admitted, _ = await refused(*(budget.reserve("a", 60) for _ in range(32)))
    assert admitted == 32
    assert await budget.balances("day") == (0, 60, 0)


async def test_another_call_under_the_same_attempt_is_refused(budget: Any) -> None:
    await budget.reserve("a", 10)
    with pytest.raises(Conflict, match="was reserved otherwise"):
        await budget.reserve("a", 11)
    await budget.settle("a", 5)
    with pytest.raises(Conflict, match="has closed"):
        await budget.reserve("a", 10)
    with pytest.raises(Conflict, match="was settled with another amount"):
        await budget.settle("a", 6)
    with pytest.raises(Conflict, match="was settled before"):
        await budget.void("a")
    await budget.reserve("b", 10)
    await budget.void("b")
    with pytest.raises(Conflict, match="was voided before"):
        await budget.settle("b", 5)


async def test_an_unknown_attempt_is_not_found(budget: Any) -> None:
    with pytest.raises(NotFound, match="reserve it first"):
        await budget.settle("nobody", 1)
    with pytest.raises(NotFound, match="reserve it first"):
        await budget.void("nobody")


async def test_nothing_is_reserved_before_the_first_snapshot(budget: Any) -> None:
    budget.documents.__init__()
    with pytest.raises(NotPossibleNow):
        await budget.reserve("a", 1)


async def test_a_caller_reserves_only_at_or_below_its_tenant(budget: Any) -> None:
    await budget.reserve("a", 1, key="acme")
    with pytest.raises(Forbidden, match="cannot reserve for `acme`"):
        await budget.reserve("b", 1, tenant="acme", key="retail")
    with pytest.raises(NotFound):
        await budget.settle("a", 1, key="globex")
    with pytest.raises(NotFound):
        await budget.void("a", key="globex")
    await budget.settle("a", 1, key="acme")
    with pytest.raises(NotFound):
        await budget.settle("a", 1, key="globex")


async def test_a_caller_does_not_close_what_the_router_reserved_for_it(
    budget: Any, documents: Any, limit: Any
) -> None:
    # The caller reads the attempt's id in its stream: it could call its own attempt free.
    documents.publish(top=("acme", limit({"window": "day", "usd": "1"})))
    await budget.reserve("a", 100)
    with pytest.raises(Forbidden, match="only who reserved it"):
        await budget.settle("a", 0, key="retail")
    with pytest.raises(Forbidden, match="only who reserved it"):
        await budget.void("a", key="acme")
    await budget.settle("a", 60)
    assert await budget.balances("top") == (60, 0, 0)


@pytest.mark.parametrize("tenant", ["acme//x", "/acme", "ACME", "acme/" * 9 + "x"])
def test_a_tenant_that_is_no_path_is_refused(tenant: str) -> None:
    from harmost.services.budget.convert import reservation_of

    request = pb.ReserveRequest(attempt_id="a", path=pb.BudgetPath(tenant=tenant))
    with pytest.raises(InvalidInput, match="is not a tenant path"):
        reservation_of(request)


async def test_finance_sees_its_subtree_only(budget: Any, documents: Any, limit: Any) -> None:
    documents.publish(
        top=("acme", limit({"window": "day", "usd": "1"})),
        leaf=("acme/retail", limit({"window": "day", "usd": "1"})),
        other=("globex", limit({"window": "day", "usd": "1"})),
    )

    async def listed(key: str, tenant: str = "") -> list[str]:
        request = pb.ListBudgetsRequest(tenant=tenant)
        return [each.name for each in (await budget.call("ListBudgets", request, key)).budgets]

    assert await listed("service") == ["top", "leaf", "other"]
    assert await listed("acme") == ["top", "leaf"]
    assert await listed("retail") == ["leaf"]
    assert await listed("acme", "acme/retail") == ["leaf"]
    with pytest.raises(Forbidden):
        await listed("retail", "acme")
    with pytest.raises(NotFound):
        await budget.balances("top", "retail")
    await budget.reserve("a", 1)
    await budget.reserve("b", 1, tenant="globex")
    assert [entry.attempt_id for entry in await budget.entries("acme")] == ["a"]
    assert await budget.entries("retail", attempt_id="b") == []
    with pytest.raises(Forbidden):
        await budget.entries("acme", tenant="globex")


async def test_pages_hold_everything_once(budget: Any, documents: Any, limit: Any) -> None:
    documents.publish(**{f"b{i}": ("acme", limit({"window": "day", "usd": "1"})) for i in range(5)})
    names: list[str] = []
    token = ""
    while True:
        page = await budget.call(
            "ListBudgets", pb.ListBudgetsRequest(page_size=2, page_token=token)
        )
        names += [each.name for each in page.budgets]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"b{i}" for i in range(5)]
    for i in range(5):
        await budget.reserve(f"a{i}", 1, tenant="acme/bank" if i % 2 else "acme/retail")
    assert [entry.sequence for entry in await budget.entries(page_size=2)] == [1, 2, 3, 4, 5]
    retail = await budget.entries(page_size=1, tenant="acme/retail")
    assert [entry.attempt_id for entry in retail] == ["a0", "a2", "a4"]
    with pytest.raises(InvalidInput, match="page_token"):
        await budget.entries(page_token="x")


async def test_a_row_says_what_where_and_when(budget: Any, clock: Any) -> None:
    await budget.reserve("a", 60, 50, profile="hello", end_user_id="ann")
    clock.move(seconds=1.5)
    usage = usage_pb2.TokenUsage(
        input_tokens=20, output_tokens=10, source=usage_pb2.USAGE_SOURCE_PROVIDER
    )
    await budget.settle("a", 25, 30, usage=usage)
    reserved, settled = await budget.entries(attempt_id="a")
    assert (reserved.kind, settled.kind) == (pb.ENTRY_KIND_RESERVE, pb.ENTRY_KIND_SETTLE)
    assert (reserved.amount.usd_nanos, reserved.amount.tokens) == (60, 50)
    assert (settled.amount.usd_nanos, settled.amount.tokens) == (25, 30)
    assert settled.path == pb.BudgetPath(tenant="acme/retail", profile="hello", end_user_id="ann")
    assert (settled.model, settled.usage) == ("haiku", usage)
    assert settled.created_at.ToJsonString() == "2026-11-18T12:00:01.500Z"


async def test_an_adjustment_is_a_row_with_author_and_reason(budget: Any) -> None:
    await budget.reserve("a", 80)
    await budget.settle("a", 80)
    request = pb.AdjustRequest(budget="day", delta=-30, reason="refund", idempotency_key="k")
    answer = await budget.call("Adjust", request, "acme")
    assert (answer.budget.settled, answer.sequence) == (50, 3)
    assert (await budget.call("Adjust", request, "acme")).sequence == 3
    assert await budget.balances("day") == (50, 0, 0)
    entry = (await budget.entries())[-1]
    assert (entry.kind, entry.delta, entry.budget) == (pb.ENTRY_KIND_ADJUST, -30, "day")
    assert (entry.author, entry.reason, entry.attempt_id) == ("app", "refund", "")
    request.delta = -31
    with pytest.raises(Conflict, match="was used for something else"):
        await budget.call("Adjust", request, "acme")
    request.idempotency_key, request.delta = "l", -51
    said = r"settled 0\.00000005 US dollars and `-0\.000000051 US dollars` cannot be added"
    with pytest.raises(InvalidInput, match=said):
        await budget.call("Adjust", request, "acme")
    with pytest.raises(NotFound):
        await budget.call("Adjust", request, "retail")
    with pytest.raises(Forbidden):
        await budget.call("Adjust", request, "service")


async def test_rows_of_programs_name_the_price_that_they_were_computed_with(budget: Any) -> None:
    path = pb.BudgetPath(tenant="acme/retail")
    for attempt_id, version in (("a", "2026-01"), ("b", "2026-01"), ("c", "2026-01"), ("d", "")):
        request = pb.ReserveRequest(
            attempt_id=attempt_id,
            path=path,
            amount=pb.Amount(usd_nanos=10, tokens=1),
            price_version=version,
        )
        for _ in range(2):  # again: the same
            await budget.call("Reserve", request, "acme")
    other = pb.ReserveRequest(attempt_id="a", path=path, amount=pb.Amount(usd_nanos=10, tokens=1))
    with pytest.raises(Conflict, match="was reserved otherwise"):
        await budget.call("Reserve", other, "acme")
    used = pb.Amount(usd_nanos=5, tokens=1)
    for _ in range(2):
        await budget.call("Settle", pb.SettleRequest(attempt_id="a", amount=used), "acme")
        settled = pb.SettleRequest(attempt_id="b", amount=used, price_version="2026-02")
        await budget.call("Settle", settled, "acme")
        await budget.call("Void", pb.VoidRequest(attempt_id="c"), "acme")
        await budget.call("Settle", pb.SettleRequest(attempt_id="d", amount=used), "acme")
    versions: dict[str, list[str]] = {}
    for entry in await budget.entries():
        versions.setdefault(entry.attempt_id, []).append(entry.price_version)
    assert versions == {
        "a": ["2026-01", "2026-01"],
        "b": ["2026-01", "2026-02"],
        "c": ["2026-01", "2026-01"],
        "d": ["", ""],
    }


async def test_an_adjustment_names_one_of_several_limits(
    budget: Any, documents: Any, limit: Any
) -> None:
    documents.publish(
        two=("acme", limit({"window": "day", "tokens": 9}, {"window": "month", "tokens": 9}))
    )
    request = pb.AdjustRequest(budget="two", delta=4, reason="late", idempotency_key="k")
    with pytest.raises(InvalidInput, match="name the unit and the window of one"):
        await budget.call("Adjust", request, "acme")
    request.window = pb.WINDOW_MONTH
    answer = await budget.call("Adjust", request, "acme")
    assert (answer.budget.window, answer.budget.settled) == (pb.WINDOW_MONTH, 4)


async def test_a_new_window_starts_anew_and_late_settlements_stay_behind(
    budget: Any, clock: Any
) -> None:
    await budget.reserve("a", 100)
    clock.move(seconds=13 * HOUR_S)
    await budget.reserve("b", 90)
    await budget.settle("a", 50)
    assert await budget.balances("day") == (0, 90, 0)
    clock.move(seconds=-13 * HOUR_S)
    assert await budget.balances("day") == (50, 0, 0)
    await budget.reserve("c", 50)
    assert await budget.balances("day") == (50, 50, 0)


async def test_a_clock_that_jumps_back_gives_no_allowance_twice(budget: Any, clock: Any) -> None:
    await budget.reserve("a", 100)
    await budget.settle("a", 100)
    clock.move(seconds=DAY_S)
    await budget.reserve("b", 100)
    for days in (-1, 1):
        clock.move(seconds=days * DAY_S)
        with pytest.raises(BudgetExhausted):
            await budget.reserve(f"c{days}", 1)
    assert [entry.sequence for entry in await budget.entries()] == [1, 2, 3]


async def test_limits_change_under_running_windows(budget: Any, documents: Any, limit: Any) -> None:
    await budget.reserve("a", 60)
    documents.publish(day=("acme", limit({"window": "day", "usd": "0.00000005"})))
    with pytest.raises(BudgetExhausted) as denial:
        await budget.reserve("b", 1)
    assert denial.value.details["available"] == "0"
    documents.publish()
    await budget.reserve("c", 10**12)
    await budget.settle("a", 60)
    documents.publish(day=("acme", limit({"window": "day", "usd": "0.00000007"})))
    assert await budget.balances("day") == (60, 0, 0)
    await budget.reserve("d", 10)
