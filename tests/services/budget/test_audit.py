"""The running ledger proven: while it works, and wherever something in it does not fit."""

import asyncio
from typing import Any

import grpc
import pytest
from lease_router import Router, ask

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import Forbidden
from harmost.core.resources.kinds import BudgetSpec, Limit
from harmost.services.budget import audit
from harmost.services.interceptors.errors import error_of
from harmost.services.transport import bearer


async def proof(budget: Any, key: str = "admin") -> list[pb.VerifyLedgerResponse]:
    """Every message of it."""
    call = budget.stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=bearer(key), timeout=20)
    try:
        return [message async for message in call]
    except grpc.aio.AioRpcError as error:
        raise error_of(error, service="Budget") from None


async def spend(budget: Any, *, attempts: int) -> None:
    """Attempts at two levels in two units: settled, void, above their hold, and open."""
    limits = (Limit(window="day", usd="1"), Limit(window="total", tokens=10**9))
    levels = {"low": "acme/retail", "top": "acme"}
    budget.documents.publish(
        **{name: (tenant, BudgetSpec(limits=limits)) for name, tenant in levels.items()}
    )
    for number in range(attempts):
        name = f"a{number}"
        await budget.reserve(name, 100, 10)
        if number % 4 == 0:
            await budget.settle(name, 60, 6)
        elif number % 4 == 1:
            await budget.void(name)
        elif number % 4 == 2:
            await budget.settle(name, 105, 10)


async def test_a_ledger_that_adds_up_has_no_finding(budget: Any) -> None:
    await spend(budget, attempts=40)
    adjust = pb.AdjustRequest(
        budget="top", delta=-5, reason="r", idempotency_key="k", unit=pb.UNIT_USD_NANOS
    )
    await budget.call("Adjust", adjust, "acme")
    *_, last = await proof(budget)
    assert last.done
    assert last.findings_total == 0, last.findings
    assert (last.rows, last.rows_total) == (71, 71)
    assert (last.attempts, last.usd_nanos) == (20, 10 * 60 + 10 * 105)


async def test_leases_and_what_is_in_suspense_add_up(budget: Any) -> None:
    await spend(budget, attempts=4)
    router = Router(budget)
    await router.register()
    answer = await router.say(asks=[ask(1_000, budget="top"), ask(1_000, budget="low")])
    assert all(lease.granted for lease in answer.leases)
    *_, lent = await proof(budget)
    assert (lent.done, lent.findings_total) == (True, 0)
    await router.register()  # the epoch before is in suspense now
    *_, suspended = await proof(budget)
    assert (suspended.done, suspended.findings_total) == (True, 0)
    router.close()


async def test_an_empty_ledger_adds_up(budget: Any) -> None:
    (only,) = await proof(budget)
    assert (only.done, only.rows, only.findings_total) == (True, 0, 0)


async def test_a_proof_tells_how_far_it_is(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE_ROWS", 10)
    await spend(budget, attempts=24)
    *running, last = await proof(budget)
    rows = [message.rows for message in running]
    assert rows == sorted(rows)
    assert not any(message.done for message in running)
    assert len(rows) >= 3
    assert (last.done, last.findings_total) == (True, 0)


async def test_rows_that_come_meanwhile_count(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PAGE_ROWS", 5)
    await spend(budget, attempts=24)

    async def more() -> None:
        for number in range(100, 130):
            await budget.reserve(f"a{number}", 100, 10)
            await budget.settle(f"a{number}", 60, 6)

    (*_, last), _ = await asyncio.gather(proof(budget), more())
    assert (last.done, last.findings_total) == (True, 0), last.findings
    assert last.rows > 42


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE balances SET settled = settled + 1 WHERE id = 1", "counter 1 (budget `"),
        ("UPDATE balances SET leased = leased + 1 WHERE id = 1", "its leases add up to 0: +1"),
        ("DELETE FROM entries WHERE sequence = 7", "row 7 is missing"),
        ("DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)", "are missing"),
        ("UPDATE entries SET debt_usd_nanos = 0", "closes `a2` with impossible amounts"),
    ],
)
async def test_what_does_not_fit_is_named(budget: Any, sql: str, message: str) -> None:
    await spend(budget, attempts=12)

    def damage(accounts: Any, now_ns: int) -> None:
        connection = accounts._file._connection
        connection.execute("DROP TRIGGER entries_are_never_changed")
        connection.execute("DROP TRIGGER entries_are_never_deleted")
        connection.execute(sql)

    await budget.store.run(damage)
    *_, last = await proof(budget)
    assert last.done
    assert any(message in found.message for found in last.findings), last.findings


@pytest.mark.parametrize("key", ["acme", "retail"])
async def test_only_who_has_the_whole_deployment_may_have_it_proven(budget: Any, key: str) -> None:
    with pytest.raises(Forbidden, match="only a key of the whole deployment"):
        await proof(budget, key)


def test_every_public_name_exists() -> None:
    assert all(hasattr(audit, name) for name in audit.__all__)
