"""Sums of ledger rows: equal to the rows, whatever they are asked by, page by page."""

import asyncio
import random
from collections import Counter
from datetime import UTC

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import Forbidden, InvalidInput
from harmost.core.resources.kinds import BudgetSpec, Limit
from harmost.services.budget import ledger_sums, report

TENANTS = ("acme", "acme/retail", "acme/retail/support", "acme/banking", "globex")
MINUTE_NS = 60 * 10**9


def moment(time_ns: int) -> Timestamp:
    return Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


async def sums(budget, key="service", **wanted) -> pb.SumEntriesResponse:
    return await budget.call("SumEntries", pb.SumEntriesRequest(**wanted), key)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages so short that every report has several."""
    end = ledger_sums._END.replace(f"OFFSET {ledger_sums.PAGE_ROWS - 1}", "OFFSET 6")
    assert end != ledger_sums._END
    monkeypatch.setattr(ledger_sums, "_END", end)


async def spend(budget, clock, *, attempts: int) -> None:
    """Attempts of every tenant, model, user and minute; some void, some open, some corrected."""
    chance = random.Random(6)
    budget.documents.publish(
        top=("acme", BudgetSpec(limits=(Limit(window="total", usd="1000"),))),
        low=("acme/retail", BudgetSpec(limits=(Limit(window="total", usd="1000"),))),
    )
    for number in range(attempts):
        clock.now_ns += chance.randrange(2) * MINUTE_NS // 3
        name, path = f"a{number}", {"profile": chance.choice(("hello", "support"))}
        held = chance.randrange(1, 10**9)
        await budget.reserve(name, held, 50, tenant=chance.choice(TENANTS), **path)
        match chance.randrange(6):
            case 0:
                await budget.void(name)
            case 1:
                pass
            case 2:
                await budget.settle(name, held + 5, 60)  # a debt of five
            case _:
                await budget.settle(name, chance.randrange(held), 20)
    for number, delta in enumerate((700, -300)):
        request = pb.AdjustRequest(
            budget="top", delta=delta, reason="a test", idempotency_key=f"k{number}"
        )
        await budget.call("Adjust", request, "acme")


def folded(entries: list[pb.Entry]) -> pb.EntrySum:
    """The slow, obvious twin: one row after the other."""
    total = pb.EntrySum()
    for entry in entries:
        if entry.kind == pb.ENTRY_KIND_SETTLE:
            total.attempts += 1
            total.usd_nanos += entry.amount.usd_nanos
            total.tokens += entry.amount.tokens
            total.debt_usd_nanos += entry.debt_usd_nanos
            total.price_unknown_attempts += entry.amount.price_unknown
        elif entry.kind == pb.ENTRY_KIND_ADJUST:
            total.corrections += 1
            total.corrected_usd_nanos += entry.delta
    return total


@pytest.mark.usefixtures("small_pages")
async def test_a_report_is_the_sum_of_the_ledgers_rows(budget, clock) -> None:
    await spend(budget, clock, attempts=120)
    rows = await budget.entries()
    answer = await sums(budget, group_by=[pb.ENTRY_GROUP_TENANT, pb.ENTRY_GROUP_PROFILE])
    assert answer.total == folded(rows)
    assert answer.total.debt_usd_nanos > 0
    for found in answer.sums:
        tenant, profile = found.keys
        own = [r for r in rows if (r.path.tenant, r.path.profile) == (tenant, profile)]
        assert found == pb.EntrySum(keys=found.keys, **fields(folded(own)))
    for name in fields(answer.total):
        assert sum(getattr(one, name) for one in answer.sums) == getattr(answer.total, name)


def fields(found: pb.EntrySum) -> dict[str, int]:
    names = [field.name for field in found.DESCRIPTOR.fields if field.name != "keys"]
    return {name: getattr(found, name) for name in names}


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("group", [pb.ENTRY_GROUP_MINUTE, pb.ENTRY_GROUP_HOUR, pb.ENTRY_GROUP_DAY])
async def test_sums_by_time_are_in_its_order(budget, clock, group: int) -> None:
    await spend(budget, clock, attempts=60)
    rows = [r for r in await budget.entries() if r.kind == pb.ENTRY_KIND_SETTLE]
    shape = {
        pb.ENTRY_GROUP_MINUTE: "%Y-%m-%dT%H:%M:00Z",
        pb.ENTRY_GROUP_HOUR: "%Y-%m-%dT%H:00:00Z",
        pb.ENTRY_GROUP_DAY: "%Y-%m-%dT00:00:00Z",
    }[group]
    wanted = Counter[str]()
    for row in rows:
        wanted[row.created_at.ToDatetime(UTC).strftime(shape)] += row.amount.usd_nanos
    answer = await sums(budget, group_by=[group])
    found = [(one.keys[0], one.usd_nanos) for one in answer.sums if one.attempts]
    assert found == sorted(wanted.items())


@pytest.mark.usefixtures("small_pages")
async def test_only_rows_within_the_span_are_summed(budget, clock) -> None:
    await spend(budget, clock, attempts=60)
    rows = await budget.entries()
    times = [row.created_at.ToNanoseconds() for row in rows]
    start_ns, end_ns = times[len(times) // 3], times[2 * len(times) // 3]
    answer = await sums(budget, start=moment(start_ns), end=moment(end_ns))
    inside = [row for row, at in zip(rows, times, strict=True) if start_ns <= at < end_ns]
    assert answer.total == folded(inside)
    assert 0 < answer.total.attempts < folded(rows).attempts


async def test_a_clock_that_jumps_back_loses_no_row(budget, clock) -> None:
    await spend(budget, clock, attempts=20)
    before_ns = clock.now_ns
    clock.now_ns -= 86_400 * 10**9
    await budget.reserve("late", 1_000, 1, tenant="acme")
    await budget.settle("late", 1_000, 1)
    yesterday = await sums(budget, end=moment(before_ns - 43_200 * 10**9))
    assert (yesterday.total.attempts, yesterday.total.usd_nanos) == (1, 1_000)
    assert (await sums(budget)).total == folded(await budget.entries())


async def test_tenant_paths_are_cut_to_their_first_levels(budget, clock) -> None:
    await spend(budget, clock, attempts=60)
    whole = await sums(budget, group_by=[pb.ENTRY_GROUP_TENANT])
    cut = await sums(budget, group_by=[pb.ENTRY_GROUP_TENANT], tenant_levels=1)
    wanted = Counter[str]()
    for found in whole.sums:
        wanted[found.keys[0].split("/")[0]] += found.usd_nanos
    assert {found.keys[0]: found.usd_nanos for found in cut.sums} == dict(wanted)
    assert [found.usd_nanos for found in cut.sums] == sorted(wanted.values(), reverse=True)


async def test_a_key_sees_only_what_is_charged_at_or_below_its_tenant(budget, clock) -> None:
    await spend(budget, clock, attempts=60)
    answer = await sums(budget, "retail", group_by=[pb.ENTRY_GROUP_TENANT])
    assert {found.keys[0] for found in answer.sums} == {"acme/retail", "acme/retail/support"}
    with pytest.raises(Forbidden, match="cannot see `acme/banking`"):
        await sums(budget, "retail", tenant="acme/banking")


async def test_more_combinations_than_fit_are_counted_in_the_total(
    budget, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SUMS_MAX", 2)
    await spend(budget, clock, attempts=40)
    answer = await sums(budget, group_by=[pb.ENTRY_GROUP_TENANT])
    assert (len(answer.sums), answer.truncated) == (2, True)
    assert answer.total == folded(await budget.entries())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"group_by": [1, 1]}, "names a group twice"),
        ({"group_by": [0]}, "names a group twice, none"),
        ({"group_by": [6, 7]}, "or two times"),
        ({"group_by": [99]}, "which the contract does not name"),
        ({"tenant_levels": 9}, "the most is 8"),
        ({"start": moment(2), "end": moment(1)}, "`start` is after `end`"),
        ({"start": Timestamp(seconds=-5)}, "no time from 1970"),
        ({"end": Timestamp(seconds=2**40)}, "no time from 1970"),
    ],
)
async def test_what_means_nothing_is_refused(budget, wanted, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        await sums(budget, **wanted)


async def test_a_report_lets_others_reserve_between_its_pages(budget, clock, small_pages) -> None:
    await spend(budget, clock, attempts=100)
    order: list[str] = []

    async def ask() -> None:
        await sums(budget)
        order.append("report")

    async def reserve() -> None:
        await budget.reserve("between", 1, 1, tenant="acme")
        order.append("reserve")

    await asyncio.gather(ask(), reserve())
    assert order == ["reserve", "report"]


def test_every_public_name_exists() -> None:
    for module in (report, ledger_sums):
        assert all(hasattr(module, name) for name in module.__all__)
