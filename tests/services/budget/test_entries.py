"""Ledger rows by kind, model, time and order; a page that is short is not the last."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import InvalidInput
from harmost.services.budget import ledger_file

SECOND_NS = 10**9


async def spend(budget: Any, clock: Any, *, attempts: int = 6) -> None:
    for number in range(attempts):
        clock.move(seconds=1)
        await budget.reserve(f"a{number}", 10, 1)
        if number % 2:
            await budget.settle(f"a{number}", 5, 1)
        else:
            await budget.void(f"a{number}")


def sequences(entries: list[pb.Entry]) -> list[int]:
    return [entry.sequence for entry in entries]


@pytest.fixture(params=[50_000, 3], ids=["whole", "short-scans"])
def scans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "ROWS_SCANNED_MAX", request.param)


@pytest.mark.usefixtures("scans")
@pytest.mark.parametrize("page_size", [1, 4, 100])
async def test_the_newest_come_first_where_they_are_asked_for(
    budget: Any, clock: Any, page_size: int
) -> None:
    await spend(budget, clock)
    newest = await budget.entries(newest_first=True, page_size=page_size)
    assert sequences(newest) == list(range(12, 0, -1))
    assert sequences(await budget.entries(page_size=page_size)) == list(range(1, 13))


@pytest.mark.usefixtures("scans")
async def test_only_rows_of_the_kinds_and_the_model_are_listed(budget: Any, clock: Any) -> None:
    await spend(budget, clock)
    settled = await budget.entries(kinds=[pb.ENTRY_KIND_SETTLE])
    assert sequences(settled) == [4, 8, 12]
    both = await budget.entries(kinds=[pb.ENTRY_KIND_SETTLE, pb.ENTRY_KIND_VOID])
    assert sequences(both) == [2, 4, 6, 8, 10, 12]
    assert len(await budget.entries(model="haiku")) == 12
    assert await budget.entries(model="sonnet") == []


@pytest.mark.usefixtures("scans")
async def test_only_rows_of_the_span_are_listed(budget: Any, clock: Any) -> None:
    begin_ns = clock.now_ns
    await spend(budget, clock)

    def second(number: int) -> Timestamp:
        at_ns = begin_ns + number * SECOND_NS
        return Timestamp(seconds=at_ns // SECOND_NS, nanos=at_ns % SECOND_NS)

    found = await budget.entries(start=second(2), end=second(4))
    assert sequences(found) == [3, 4, 5, 6]
    newest = await budget.entries(start=second(5), newest_first=True)
    assert sequences(newest) == [12, 11, 10, 9]
    with pytest.raises(InvalidInput, match="`start` is after `end`"):
        await budget.entries(start=second(4), end=second(2))


async def test_a_kind_that_does_not_exist_is_refused(budget: Any) -> None:
    with pytest.raises(InvalidInput, match="which the contract does not name"):
        await budget.entries(kinds=[9])
