"""SyncLeases over gRPC, a Router played by hand: what is lent, told, taken back and never believed."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from lease_router import Router, ask

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import (
    BudgetExhausted,
    Forbidden,
    InvalidInput,
    NotFound,
    ServiceUnavailable,
)

DAY_S = 24 * 3_600


def closed(
    attempt_id: str, used: int, held: int, *counters: int, tokens: int = 0, **more: Any
) -> pb.ClosedAttempt:
    return pb.ClosedAttempt(
        attempt_id=attempt_id,
        path=pb.BudgetPath(tenant="acme/retail"),
        model="haiku",
        held=pb.Amount(usd_nanos=held, tokens=tokens),
        amount=pb.Amount(usd_nanos=used, tokens=tokens),
        counter_ids=counters,
        **more,
    )


@pytest.fixture
async def router(budget: Any) -> AsyncGenerator[Router]:
    router = Router(budget)
    await router.register()
    yield router
    router.close()


async def balance(budget: Any, name: str = "day") -> dict[str, int]:
    answer = await budget.call("GetBudget", pb.GetBudgetRequest(name=name))
    fields = ("settled", "held", "leased", "suspense", "debt")
    found = {field: getattr(answer.budget, field) for field in fields}
    return {field: amount for field, amount in found.items() if amount}


async def test_what_is_lent_is_lent_once(budget: Any, router: Router) -> None:
    lease = await router.ask(40)
    assert (lease.granted, lease.limit, lease.used) == (40, 100, 40)
    assert await balance(budget) == {"leased": 40}
    assert not lease.denied


async def test_a_router_gets_half_of_what_is_free_unless_it_needs_more(router: Router) -> None:
    assert (await router.ask(90)).granted == 50
    assert (await router.ask(90, minimum=45)).granted == 95
    lease = await router.ask(90, minimum=6)
    assert (lease.granted, lease.denied) == (95, True)
    assert (await router.ask(90, minimum=5)).granted == 100


async def test_programs_and_routers_share_one_ceiling(budget: Any, router: Router) -> None:
    await budget.reserve("a", 60)
    lease = await router.ask(50, minimum=41)
    assert (lease.granted, lease.denied) == (0, True)
    await router.ask(40, minimum=40)
    with pytest.raises(BudgetExhausted):
        await budget.reserve("b", 1)
    assert await balance(budget) == {"held": 60, "leased": 40}


async def test_a_program_that_is_denied_has_idle_leases_recalled(
    budget: Any, router: Router
) -> None:
    lease = await router.ask(50, minimum=50)
    with pytest.raises(BudgetExhausted):
        await budget.reserve("a", 60)
    assert list((await router.told()).recalled_counter_ids) == [lease.counter_id]
    await router.say(reports=[pb.LeaseReport(counter_id=lease.counter_id, returned=50)])
    await budget.reserve("a", 60)


async def test_an_attempt_becomes_one_row(budget: Any, router: Router, clock: Any) -> None:
    lease = await router.ask(50)
    report = pb.LeaseReport(counter_id=lease.counter_id, posted=30, held=10)
    await router.say(attempts=[closed("a", 30, 35, lease.counter_id)], reports=[report])
    assert await balance(budget) == {"settled": 30, "held": 10, "leased": 10}
    (entry,) = await budget.entries()
    assert (entry.kind, entry.attempt_id, entry.amount.usd_nanos) == (2, "a", 30)
    assert (entry.path.tenant, entry.model) == ("acme/retail", "haiku")
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_the_same_message_again_changes_nothing(budget: Any, router: Router) -> None:
    lease = await router.ask(50)
    report = pb.LeaseReport(counter_id=lease.counter_id, posted=30)
    said = {"attempts": [closed("a", 30, 30, lease.counter_id)], "reports": [report]}
    first = await router.say(asks=[ask(20)], **said)
    again = await router.send(sequence=router.sequence, asks=[ask(20)], **said)
    assert again == first
    assert await balance(budget) == {"settled": 30, "leased": 40}
    assert len(await budget.entries()) == 1


async def test_an_attempt_that_is_told_under_another_number_is_settled_once(
    budget: Any, router: Router
) -> None:
    lease = await router.ask(50)
    told = closed("a", 30, 30, lease.counter_id)
    for posted in (30, 60):
        report = pb.LeaseReport(counter_id=lease.counter_id, posted=posted)
        await router.say(attempts=[told], reports=[report])
    assert (await balance(budget))["settled"] == 30
    assert len(await budget.entries()) == 1
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_an_old_epoch_changes_nothing(budget: Any, router: Router) -> None:
    lease = await router.ask(50)
    other = Router(budget)
    assert await other.register() == router.epoch + 1
    answer = await router.send(
        sequence=2, attempts=[closed("a", 30, 30, lease.counter_id)], asks=[ask(9)]
    )
    assert answer.status == pb.SYNC_STATUS_FENCED
    assert await balance(budget) == {"suspense": 50}
    assert await budget.entries() == []
    other.close()


async def test_a_gap_is_told(router: Router) -> None:
    answer = await router.send(sequence=5)
    assert (answer.status, answer.sequence) == (pb.SYNC_STATUS_GAP, 0)


async def test_epochs_and_leases_survive_a_restart(started: Any) -> None:
    async with started() as budget:
        router = Router(budget)
        await router.register()
        await router.ask(50)
        router.close()
    async with started() as budget:
        assert await balance(budget) == {"leased": 50}
        again = Router(budget)
        again.epoch, again.sequence = router.epoch, router.sequence
        assert (await again.ask(10)).granted == 60
        assert await again.register() == router.epoch + 1
        assert await balance(budget) == {"suspense": 60}
        again.close()
        await budget.store.run(lambda accounts, _: accounts.verify())


async def test_only_evidence_frees_what_a_dead_router_had(budget: Any, router: Router) -> None:
    lease = await router.ask(50)
    dead = router.epoch
    await router.register()
    proof = pb.LeaseEvidence(
        epoch=dead,
        attempts=[closed("a", 20, 25, lease.counter_id)],
        outstanding=[pb.LeaseOutstanding(counter_id=lease.counter_id, amount=10)],
    )
    await router.say(evidence=[proof])
    assert await balance(budget) == {"settled": 20, "suspense": 10}
    rest = pb.LeaseEvidence(epoch=dead, attempts=[closed("b", 3, 10, lease.counter_id)])
    await router.say(evidence=[rest])
    assert await balance(budget) == {"settled": 23}
    assert [entry.attempt_id for entry in await budget.entries()] == ["a", "b"]
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_a_journal_that_is_not_whole_proves_its_attempts_only(
    budget: Any, router: Router
) -> None:
    lease = await router.ask(50)
    dead = router.epoch
    await router.register()
    told = closed("a", 20, 25, lease.counter_id)
    await router.say(evidence=[pb.LeaseEvidence(epoch=dead, attempts=[told], partial=True)])
    assert await balance(budget) == {"settled": 20, "suspense": 30}


async def test_suspense_is_listed_by_router_and_epoch(
    budget: Any, router: Router, clock: Any
) -> None:
    assert not (await budget.call("ListSuspense", pb.ListSuspenseRequest(), "admin")).suspense
    await router.ask(20)
    dead = router.epoch
    await router.register()
    await router.ask(10)
    other = Router(budget, "other")
    await other.register()
    await other.ask(5)
    clock.move(seconds=61)
    await budget.store.run(lambda accounts, now_ns: accounts.leases.expire(now_ns=now_ns))
    answer = await budget.call("ListSuspense", pb.ListSuspenseRequest(), "admin")
    assert [(each.router_id, each.epoch, each.ended, each.amount) for each in answer.suspense] == [
        ("other", 1, False, 5),
        ("r", dead, True, 20),
        ("r", dead + 1, False, 10),
    ]
    first = answer.suspense[0]
    assert (first.budget, first.unit, first.window) == ("day", pb.UNIT_USD_NANOS, pb.WINDOW_DAY)
    of_one = await budget.call("ListSuspense", pb.ListSuspenseRequest(router_id="other"), "admin")
    assert list(of_one.suspense) == [first]
    assert not answer.truncated
    with pytest.raises(Forbidden, match="use the admin key"):
        await budget.call("ListSuspense", pb.ListSuspenseRequest(), "acme")
    other.close()


async def test_a_person_may_say_that_suspense_was_spent(budget: Any, router: Router) -> None:
    await router.ask(50)
    dead = router.epoch
    await router.register()
    request = pb.WriteOffSuspenseRequest(router_id="r", epoch=dead, reason="its disk is gone")
    with pytest.raises(Forbidden, match="use the admin key"):
        await budget.call("WriteOffSuspense", request, "acme")
    (entry,) = (await budget.call("WriteOffSuspense", request, "admin")).entries
    assert (entry.kind, entry.delta, entry.budget) == (pb.ENTRY_KIND_ADJUST, 50, "day")
    assert (entry.author, entry.reason) == ("admin", "its disk is gone")
    assert entry.path.tenant == "acme"  # who pays, in every report
    assert await balance(budget) == {"settled": 50}
    assert not (await budget.call("WriteOffSuspense", request, "admin")).entries
    await budget.store.run(lambda accounts, _: accounts.verify())
    request.epoch = router.epoch
    with pytest.raises(InvalidInput, match="has not ended"):
        await budget.call("WriteOffSuspense", request, "admin")
    request.router_id = "nobody"
    with pytest.raises(NotFound, match="Router `nobody`"):
        await budget.call("WriteOffSuspense", request, "admin")


async def test_a_silent_router_is_in_suspense_and_has_its_leases_back_when_heard(
    budget: Any, router: Router, clock: Any
) -> None:
    await router.ask(50)

    async def expired() -> dict[str, int]:
        await budget.store.run(lambda accounts, now: accounts.leases.expire(now_ns=now))
        return await balance(budget)

    clock.move(seconds=59)
    assert await expired() == {"leased": 50}
    clock.move(seconds=2)
    assert await expired() == {"suspense": 50}
    with pytest.raises(BudgetExhausted):
        await budget.reserve("a", 51)
    assert (await router.ask(1)).granted == 51
    assert await balance(budget) == {"leased": 51}


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_jumps_lends_nothing_twice(
    budget: Any, router: Router, clock: Any, days: int
) -> None:
    lease = await router.ask(50, minimum=50)
    clock.move(seconds=days * DAY_S)
    other = await router.ask(100, minimum=100)
    assert other.counter_id != lease.counter_id
    await router.say(attempts=[closed("a", 50, 50, lease.counter_id)])
    clock.move(seconds=-days * DAY_S)
    assert await balance(budget) == {"settled": 50}
    assert (await router.ask(60, minimum=51)).denied


async def test_a_lowered_limit_is_asked_back_and_lends_no_more(
    budget: Any, router: Router, documents: Any, limit: Any
) -> None:
    lease = await router.ask(50, minimum=50)
    documents.publish(day=("acme", limit({"window": "day", "usd": "0.00000002"})))
    assert list((await router.told()).recalled_counter_ids) == [lease.counter_id]
    assert (await router.ask(1, minimum=1)).denied
    await router.say(reports=[pb.LeaseReport(counter_id=lease.counter_id, returned=40)])
    assert await balance(budget) == {"leased": 10}
    assert (await router.ask(1, minimum=1)).granted == 51


async def test_who_was_denied_hears_when_something_is_free(budget: Any, router: Router) -> None:
    other = Router(budget, "other")
    await other.register()
    lease = await router.ask(100, minimum=100)
    assert (await other.ask(10, minimum=10)).denied
    assert list((await router.told()).recalled_counter_ids) == [lease.counter_id]
    await router.say(reports=[pb.LeaseReport(counter_id=lease.counter_id, returned=70)])
    assert list((await other.told()).cleared_counter_ids) == [lease.counter_id]
    assert (await other.ask(10, minimum=10)).granted == 10
    other.close()


async def test_a_raised_limit_is_told_to_who_was_denied(
    budget: Any, router: Router, documents: Any, limit: Any
) -> None:
    await router.ask(100, minimum=100)
    assert (await router.ask(1, minimum=1)).denied
    documents.publish(day=("acme", limit({"window": "day", "usd": "0.0000002"})))
    assert (await router.told()).cleared_counter_ids
    assert (await router.ask(1, minimum=1)).granted == 101


async def test_soft_limits_are_charged_whether_a_router_knows_of_them_or_not(
    budget: Any, router: Router, documents: Any, limit: Any
) -> None:
    documents.publish(
        day=("acme", limit({"window": "day", "usd": "0.0000001"})),
        soft=("acme", limit({"window": "day", "tokens": 10, "enforcement": "soft"})),
    )
    lease = await router.ask(50)
    attempt = closed("a", 30, 30, lease.counter_id, tokens=12)
    attempt.admitted_at.FromNanoseconds(budget.store._now_ns())
    report = pb.LeaseReport(counter_id=lease.counter_id, posted=30)
    await router.say(attempts=[attempt], reports=[report])
    assert (await balance(budget, "soft"))["settled"] == 12
    assert (await balance(budget))["settled"] == 30
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_a_soft_limit_counts_an_attempt_once_whatever_the_clock_of_its_router(
    budget: Any, router: Router, documents: Any, limit: Any
) -> None:
    documents.publish(soft=("acme", limit({"window": "hour", "tokens": 10, "enforcement": "soft"})))
    lease = await router.ask(0, budget="soft", unit=pb.UNIT_TOKENS, window=pb.WINDOW_HOUR)
    attempt = closed("a", 0, 0, lease.counter_id, tokens=12)
    attempt.admitted_at.FromNanoseconds(budget.store._now_ns() - DAY_S * 10**9)
    report = pb.LeaseReport(counter_id=lease.counter_id, posted=12)
    await router.say(attempts=[attempt], reports=[report])
    entries = await budget.call("ListEntries", pb.ListEntriesRequest())
    assert len(entries.entries) == 1
    assert (await balance(budget, "soft"))["settled"] == 12
    rows = await budget.store.run(lambda accounts, _: accounts._file.entries_of("a"))
    assert rows[0].counters == (lease.counter_id,)


async def test_an_attempt_of_before_leases_closes_its_hold(budget: Any, router: Router) -> None:
    await budget.reserve("a", 60)
    await budget.reserve("b", 20)
    await router.say(attempts=[closed("a", 25, 60), closed("b", 0, 20, void=True)])
    assert await balance(budget) == {"settled": 25}
    assert [entry.kind for entry in await budget.entries()] == [1, 1, 2, 3]


async def test_what_a_provider_bills_above_the_hold_is_debt_and_alarmed(
    budget: Any, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await router.ask(50)
    report = pb.LeaseReport(counter_id=lease.counter_id, posted=70)
    with caplog.at_level(logging.WARNING):
        await router.say(attempts=[closed("a", 70, 10, lease.counter_id)], reports=[report])
    assert await balance(budget) == {"settled": 70, "leased": 40, "debt": 60}
    assert "did not honour its cap" in caplog.text
    (entry,) = await budget.entries()
    assert entry.debt_usd_nanos == 60
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_a_limit_that_is_not_known_has_no_counter(router: Router) -> None:
    lease = await router.ask(10, minimum=10, budget="nobody")
    assert (lease.budget, lease.counter_id, lease.granted) == ("nobody", 0, 0)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"reports": [pb.LeaseReport(counter_id=1, posted=5)]}, "its rows"),
        ({"reports": [pb.LeaseReport(counter_id=1, returned=51)]}, "is given back"),
        ({"reports": [pb.LeaseReport(counter_id=1)] * 2}, "reported twice"),
        ({"attempts": [closed("a", 1, 1, 1)] * 2}, "closed twice"),
        ({"asks": [ask(5, 6)]}, "asked for"),
        ({"asks": [ask(-1)]}, "the least is 0"),
        ({"asks": [ask(2**62 + 1)]}, "the most is"),
        ({"asks": [ask(1, window=pb.WINDOW_UNSPECIFIED)]}, "is not stated"),
        ({"attempts": [closed("a", 10**18 + 1, 1, 1)]}, "the most is"),
        ({"attempts": [closed("a", 1, -1, 1)]}, "the least is 0"),
        ({"attempts": [closed("", 1, 1, 1)]}, "is required"),
        ({"evidence": [pb.LeaseEvidence(epoch=7)]}, "has not ended"),
        ({"router_id": "another"}, "open one for each"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    budget: Any, router: Router, said: dict[str, Any], error: str
) -> None:
    lease = await router.ask(50)
    assert lease.counter_id == 1
    with pytest.raises(InvalidInput, match=error):
        await router.send(sequence=2, **said)
    assert await balance(budget) == {"leased": 50}
    assert await budget.entries() == []


async def test_a_counter_that_was_never_lent_is_not_found(budget: Any, router: Router) -> None:
    await router.ask(50)
    with pytest.raises(NotFound, match="counter `99`"):
        await router.send(sequence=2, reports=[pb.LeaseReport(counter_id=99, returned=1)])


async def test_an_attempt_that_names_unknown_leases_is_taken_without_them(
    budget: Any, router: Router
) -> None:
    await router.say(attempts=[closed("a", 5, 5, 99)])
    (entry,) = await budget.entries()
    assert entry.amount.usd_nanos == 5


async def test_amounts_beyond_a_balance_are_refused_and_the_rest_is_taken(
    budget: Any, router: Router, documents: Any, limit: Any
) -> None:
    documents.publish(
        all=("acme", limit({"window": "total", "tokens": 10**6, "enforcement": "soft"})),
        day=("acme", limit({"window": "day", "usd": "1000000000", "enforcement": "soft"})),
    )
    much = 10**18
    for n in range(4):
        answer = await router.say(attempts=[closed(f"a{n}", much, much)])
        assert not answer.refused
    answer = await router.say(attempts=[closed("b", much, much), closed("c", 0, 0, tokens=1)])
    assert [each.attempt_id for each in answer.refused] == ["b"]
    assert (await balance(budget))["settled"] == 4 * much
    await budget.store.run(lambda accounts, _: accounts.verify())


async def test_a_hold_that_expires_is_suspense_and_never_free(budget: Any, clock: Any) -> None:
    request = pb.ReserveRequest(
        attempt_id="a",
        path=pb.BudgetPath(tenant="acme"),
        amount=pb.Amount(usd_nanos=60),
        lifetime_ms=1_000,
    )
    await budget.call("Reserve", request)
    assert await balance(budget) == {"held": 60}
    clock.move(seconds=1)
    assert await balance(budget) == {"suspense": 60}
    with pytest.raises(BudgetExhausted):
        await budget.reserve("b", 41)
    settle = pb.SettleRequest(
        attempt_id="a", amount=pb.Amount(usd_nanos=10), evidence="invoice 4711"
    )
    await budget.call("Settle", settle)
    assert await balance(budget) == {"settled": 10}
    assert (await budget.entries())[-1].reason == "invoice 4711"


async def test_draining_ends_the_streams(started: Any) -> None:
    async with started() as budget:
        router = Router(budget)
        await router.register()
        budget.servicer.drain()
        assert await asyncio.wait_for(router._call.read(), 5) is grpc.aio.EOF


async def test_a_full_disk_lends_nothing_and_takes_the_same_message_later(
    budget: Any, router: Router
) -> None:
    lease = await router.ask(50)
    connection = budget.store._file._connection
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)
    many = [closed(f"a{n}", 1, 1, lease.counter_id) for n in range(40)]
    said = {
        "attempts": many,
        "asks": [ask(20)],
        "reports": [pb.LeaseReport(counter_id=lease.counter_id, posted=40)],
    }
    for each in many:
        each.path.profile = "p" * 128
    with pytest.raises(ServiceUnavailable, match="the ledger's disk is full: free some space"):
        await router.send(sequence=2, **said)
    assert await balance(budget) == {"leased": 50}
    connection.pragma("max_page_count", pages + 1_000)
    again = Router(budget)
    again.epoch = router.epoch
    answer = await again.send(sequence=2, **said)
    assert answer.status == pb.SYNC_STATUS_APPLIED
    assert len(await budget.entries()) == 40
    await budget.store.run(lambda accounts, _: accounts.verify())
    again.close()
