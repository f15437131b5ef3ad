"""kill -9 of a real service under load: no acknowledged row is lost and none is doubled."""

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from harmost.budget.v1 import budget_pb2 as pb
from harmost.budget.v1 import budget_pb2_grpc
from harmost.services.budget.ledger_file import LedgerFile
from harmost.services.budget.rows import EntryKind, EntryQuestion
from harmost.services.transport import bearer

KILLS = 5
CALLERS = 16
HELD, USED = 1_000, 400
SERVE = Path(__file__).with_name("serve.py")
KEY = bearer("service")


class Load:
    """Callers that reserve and then settle or void, and remember what was acknowledged."""

    def __init__(self) -> None:
        self.reserved: set[str] = set()
        self.settled: set[str] = set()
        self.voided: set[str] = set()
        self.tried: list[str] = []

    async def run(self, port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = budget_pb2_grpc.BudgetServiceStub(channel)
            await asyncio.gather(*(self._caller(stub) for _ in range(CALLERS)))

    async def _caller(self, stub: Any) -> None:
        try:
            while True:
                attempt_id = f"a{len(self.tried)}"
                self.tried.append(attempt_id)
                await self._attempt(stub, attempt_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise

    async def _attempt(self, stub: Any, attempt_id: str) -> None:
        path = pb.BudgetPath(tenant="acme/retail")
        amount = pb.Amount(usd_nanos=HELD, tokens=10)
        request = pb.ReserveRequest(attempt_id=attempt_id, path=path, amount=amount)
        await stub.Reserve(request, metadata=KEY)
        self.reserved.add(attempt_id)
        await self.close(stub, attempt_id)

    async def close(self, stub: Any, attempt_id: str) -> None:
        if int(attempt_id[1:]) % 5 == 0:
            await stub.Void(pb.VoidRequest(attempt_id=attempt_id), metadata=KEY)
            self.voided.add(attempt_id)
        else:
            amount = pb.Amount(usd_nanos=USED, tokens=4)
            request = pb.SettleRequest(attempt_id=attempt_id, amount=amount)
            await stub.Settle(request, metadata=KEY)
            self.settled.add(attempt_id)


async def started(ledger: Path) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVE), str(ledger), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


async def test_a_killed_service_loses_and_doubles_nothing_acknowledged(tmp_path: Path) -> None:
    ledger, load, chance = tmp_path / "budget.db", Load(), random.Random(20_261_122)
    for _ in range(KILLS):
        process, port = await started(ledger)
        callers = asyncio.create_task(load.run(port))
        await asyncio.sleep(chance.uniform(0.2, 0.6))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await callers
    assert len(load.settled) > 100

    process, port = await started(ledger)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = budget_pb2_grpc.BudgetServiceStub(channel)
        for attempt_id in sorted(load.reserved):  # those that were taken answer once more
            await load.close(stub, attempt_id)
    process.send_signal(signal.SIGKILL)
    await process.wait()

    check(ledger, load)


def check(ledger: Path, load: Load) -> None:
    file = LedgerFile(ledger)
    try:
        file.verify()
        entries, following = file.page(EntryQuestion(), after=0, rows_max=50_000)
        assert following == 0
        still_open = {row.entry.key for row in file.open_holds()}
        balances = [file.balance_of(id) for id in entries[0].counters]
    finally:
        file.close()
    keys: dict[EntryKind, list[str]] = {kind: [] for kind in EntryKind}
    for entry in entries:
        keys[entry.kind].append(entry.key)
    assert all(len(found) == len(set(found)) for found in keys.values())
    assert load.reserved <= set(keys[EntryKind.RESERVE])
    assert set(keys[EntryKind.SETTLE]) == load.settled
    assert set(keys[EntryKind.VOID]) == load.voided
    # Written and not acknowledged: held until someone closes them, never lost, never free.
    assert still_open == set(keys[EntryKind.RESERVE]) - load.settled - load.voided
    assert still_open <= set(load.tried) - load.reserved
    for row in balances:
        each_used, each_held = (USED, HELD) if row.key[1] == 1 else (4, 10)
        assert row.settled == each_used * len(load.settled)
        assert row.held == each_held * len(still_open)
        assert row.debt == 0
