"""Every record is in the audit log once, can be proven, and can be forgotten without breaking a proof."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from small_log import ORIGIN, files_of, signer, verifiers

from harmost.client.errors import HarmostError, error_of
from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.leaf import Opening, Retention, is_opened_by, read_entry
from harmost.core.audit.log_check import LogCheck, check_copies, check_log
from harmost.core.audit.receipt import verify_receipt
from harmost.core.errors import InvalidInput, NotPossibleNow, ServiceUnavailable
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.telemetry.audit import AuditLog
from harmost.services.telemetry.nonces import NonceStore
from harmost.services.telemetry.service import TelemetryServicer
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.trail import AuditTrail, head_of
from harmost.services.transport import GrpcServer, bearer
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

DAY_NS = 86_400 * 10**9
PRINCIPALS = {
    "service": Principal("mesh", "", frozenset({"service"})),
    "operator": Principal("root", "", frozenset({"operator"})),
    "acme": Principal("ann", "acme", frozenset({"operator"})),
    "caller": Principal("app", "acme", frozenset({"caller"})),
    "globex": Principal("app", "globex", frozenset({"caller"})),
}


class Audited:
    """What keeps a log in `folder`; `retention` and `held` are what documents would say."""

    def __init__(self, folder: Path, *, waiting_max: int = 1_000_000) -> None:
        self.folder = folder
        self.retention: Retention = "standard"
        self.held: set[str] = set()
        self.now_ns = time.time_ns()
        self.nonces = NonceStore(folder / "audit-nonces.db")
        self.trail = AuditTrail(
            self.nonces,
            lambda tenant, profile: self.retention,
            now_ns=lambda: self.now_ns,
            waiting_max=waiting_max,
        )
        self.store = TelemetryStore(folder / "telemetry.db", trail=self.trail)
        self.storage = DirectoryStorage(folder / "audit")
        self.audit = AuditLog(
            self.store,
            self.trail,
            Sequencer(self.storage, [signer()]),
            held=lambda tenant: tenant in self.held,
            held_within=lambda tenant: tenant in self.held,
            interval_s=0.02,
        )
        self.stub: Any = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Audited"]:
        servicer = TelemetryServicer(self.store, audit=self.audit)

        def register(server: grpc.aio.Server) -> str:
            telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, server)
            return "harmost.telemetry.v1.TelemetryService"

        async with servicer.running():
            server = GrpcServer(
                "wire",
                interceptor=Gate(PRINCIPALS.get),
                register=register,
                listen="127.0.0.1:0",
                tls=None,
            )
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                self.stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
                yield self
            await server.stop(0)

    def close(self) -> None:
        self.store.close()
        self.nonces.close()

    async def take(self, records: telemetry_pb2.Record | tuple[telemetry_pb2.Record, ...]) -> None:
        """Report records as a Router does."""
        many = records if isinstance(records, tuple) else (records,)
        call = self.stub.Report(metadata=bearer("service"))
        await call.write(telemetry_pb2.ReportRequest(batch=1, records=many))
        if await call.read() is grpc.aio.EOF:
            raise ServiceUnavailable(str(await call.details()))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    async def receipt(self, record_id: str, key: str = "operator") -> Any:
        """The receipt, waited for."""
        request = telemetry_pb2.GetReceiptRequest(record_id=record_id)
        for _ in range(200):
            try:
                return await self.stub.GetReceipt(request, metadata=bearer(key))
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.02)
        raise AssertionError("it never came")

    async def refused(self, record_id: str, key: str = "operator") -> HarmostError:
        request = telemetry_pb2.GetReceiptRequest(record_id=record_id)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.stub.GetReceipt(request, metadata=bearer(key))
        return error_of(failed.value)

    async def erase(self, key: str = "operator", **changes: str) -> Any:
        fields = {"tenant": "acme", "end_user_id": "anna", "reason": "art. 17"} | changes
        request = telemetry_pb2.EraseEndUserRequest(**fields)
        return await self.stub.EraseEndUser(request, metadata=bearer(key))

    def check(self) -> LogCheck:
        """The log in the folder, proven whole."""
        checkpoint = self.storage.read("checkpoint")
        assert checkpoint is not None
        check = check_log(self.storage.read, open_checkpoint(checkpoint, verifiers())[0])
        paths = [path for path in files_of(self.storage.root) if path != "checkpoint"]
        check_copies(self.storage.read, check, paths)
        return check


@pytest.fixture
def make(tmp_path: Path) -> Any:
    with contextlib.ExitStack() as stack:

        def make_one(**options: Any) -> Audited:
            made = Audited(tmp_path, **options)
            stack.callback(made.close)
            return made

        yield make_one


MakeRecord = Callable[..., telemetry_pb2.Record]


def report(*records: telemetry_pb2.Record) -> telemetry_pb2.ReportRequest:
    return telemetry_pb2.ReportRequest(batch=1, records=records)


async def test_a_record_is_proven_by_its_receipt(make: Any, make_record: MakeRecord) -> None:
    async with make().serving() as audited:
        await audited.take((make_record("r1", ("m", 1, 10)), make_record("r2", ("m", 2, 20))))
        answer = await audited.receipt("r2")
        verified = verify_receipt(answer.proof, verifiers())
        assert read_entry(verified.entry)["record_id"] == "r2"
        assert (verified.leaf_index, verified.head.origin) == (1, ORIGIN)
        checkpoint = await audited.stub.GetCheckpoint(
            telemetry_pb2.GetCheckpointRequest(), metadata=bearer("operator")
        )
        assert open_checkpoint(checkpoint.note, verifiers())[0] == verified.head
        assert (audited.check().entries, audited.check().found) == (2, 0)


async def test_a_record_that_comes_twice_makes_one_entry(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        for _ in range(3):
            await audited.take(make_record("r1", ("m", 1, 10)))
        await audited.take((make_record("r1", ("m", 1, 10)), make_record("r2", ("m", 1, 1))))
        assert verify_receipt((await audited.receipt("r2")).proof, verifiers()).leaf_index == 1
        assert audited.check().entries == 2


async def test_operators_see_what_commitments_hide_and_callers_do_not(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        await audited.take(make_record("r1", ("m", 1, 1), end_user_id="anna", labels={"a": "b"}))
        answer = await audited.receipt("r1")
        said = read_entry(verify_receipt(answer.proof, verifiers()).entry)
        opened = {each.field: each.value for each in answer.openings}
        assert opened == {"end_user_id": b"anna", "labels": b'{"a":"b"}', "principal": b"app"}
        for each in answer.openings:
            assert is_opened_by(said, Opening(each.field, each.value, each.nonce))
        assert not (await audited.receipt("r1", "caller")).openings


async def test_a_tenant_gets_receipts_of_its_own_records_alone(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        await audited.take(make_record("r1", ("m", 1, 1), tenant="acme/retail"))
        await audited.receipt("r1", "caller")
        assert (await audited.refused("r1", "globex")).reason == "NOT_FOUND"
        unknown = (await audited.refused("r9", "globex")).message
        assert unknown.replace("r9", "r1") == (await audited.refused("r1", "globex")).message


async def test_a_record_on_its_way_is_asked_for_again_later(make: Any) -> None:
    async with make().serving() as audited:
        error = await audited.refused(f"{time.time_ns():016x}0000000000000000")
        assert (error.reason, error.retry_after_s) == ("SERVICE_UNAVAILABLE", 1.0)
        old = await audited.refused(f"{time.time_ns() - 3_600 * 10**9:016x}0000000000000000")
        assert old.reason == "NOT_FOUND"


async def test_without_a_log_it_is_said_by_name(caller: Any) -> None:
    for name, request in (
        ("GetCheckpoint", telemetry_pb2.GetCheckpointRequest()),
        ("GetReceipt", telemetry_pb2.GetReceiptRequest(record_id="r1")),
        (
            "EraseEndUser",
            telemetry_pb2.EraseEndUserRequest(tenant="acme", end_user_id="u", reason="r"),
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await getattr(caller.stub, name)(request, metadata=bearer("operator"))
        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "--audit-signing-key" in str(failed.value.details())


async def test_an_erased_end_user_is_in_no_file_and_every_proof_holds(
    make: Any, make_record: MakeRecord, tmp_path: Path
) -> None:
    name = "anna-unmistakable"
    async with make().serving() as audited:
        for record_id, tenant, end_user_id in (
            ("r1", "acme", name),
            ("r2", "acme/retail", name),
            ("r3", "acme", "bert"),
            ("r4", "globex", "anna-of-globex"),
        ):
            await audited.take(
                make_record(
                    record_id,
                    ("m", 1, 1),
                    tenant=tenant,
                    end_user_id=end_user_id,
                    labels={"who": end_user_id},
                    fact_vectors=(end_user_id.encode(),),
                )
            )
        before = await audited.receipt("r1")
        answer = await audited.erase(end_user_id=name)
        assert answer.records == 2
        after = await audited.receipt("r1")
        assert [each.field for each in after.openings] == ["principal"]
        assert verify_receipt(before.proof, verifiers()).entry == (
            verify_receipt(after.proof, verifiers()).entry
        )
        assert {o.field for o in (await audited.receipt("r3")).openings} >= {"end_user_id"}
        got = await audited.stub.GetRecord(
            telemetry_pb2.GetRecordRequest(record_id="r1"), metadata=bearer("operator")
        )
        assert (got.record.end_user_id, dict(got.record.labels)) == ("", {})
        told = await asyncio.to_thread(_entry_at, audited, answer.leaf_index)
        assert (told["kind"], told["leaves"], told["author"]) == ("erasure", [0, 1], "root")
        again = await audited.erase(end_user_id=name)
        assert (again.records, again.leaf_index) == (0, -1)
    audited.close()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or name.encode() not in path.read_bytes(), path
    assert (audited.check().found, audited.check().kinds) == (0, {"record": 4, "erasure": 1})


def _entry_at(audited: Audited, leaf_index: int) -> dict[str, Any]:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if audited.audit._sequencer.published.size > leaf_index:
            return read_entry(audited.audit._sequencer.entry(leaf_index))
        time.sleep(0.02)
    raise AssertionError("it was never published")


async def test_an_erasure_that_may_not_be_is_refused(make: Any, make_record: MakeRecord) -> None:
    async with make().serving() as audited:
        await audited.take(make_record("r1", ("m", 1, 1), end_user_id="anna"))
        audited.held.add("acme")
        with pytest.raises(grpc.aio.AioRpcError, match="is under legal hold"):
            await audited.erase()
        audited.held.clear()
        with pytest.raises(grpc.aio.AioRpcError, match="names the end user"):
            await audited.erase(reason="anna asked for it")
        with pytest.raises(grpc.aio.AioRpcError, match="may not see `globex`"):
            await audited.erase(key="acme", tenant="globex")
        assert (await audited.erase(key="acme")).records == 1


async def test_entries_whose_time_is_over_go_up_to_the_first_that_stays(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        audited.retention = "short"
        await audited.take(tuple(make_record(f"s{n}", ("m", 1, 1)) for n in range(600)))
        audited.retention = "long"
        await audited.take(tuple(make_record(f"l{n}", ("m", 1, 1)) for n in range(200)))
        await audited.receipt("l199")
        assert await audited.audit.prune(audited.now_ns + 89 * DAY_NS) == 0
        audited.held.add("acme")
        assert await audited.audit.prune(audited.now_ns + 91 * DAY_NS) == 0
        audited.held.clear()
        assert await audited.audit.prune(audited.now_ns + 91 * DAY_NS) == 512
        assert audited.storage.read("tile/entries/001") is None
        assert audited.storage.read("tile/0/001") is not None  # proofs go on to hold
        assert (await audited.refused("s511")).reason == "NOT_FOUND"
        verify_receipt((await audited.receipt("s512")).proof, verifiers())
        assert audited.nonces.get(512) is not None
        check = audited.check()
        assert (check.found, check.minimum_index, check.entries) == (0, 512, 289)
        assert await audited.audit.prune(audited.now_ns + 91 * DAY_NS) == 512


async def test_a_pruning_that_was_cut_off_is_ended_by_the_next(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        audited.retention = "short"
        await audited.take(tuple(make_record(f"s{n}", ("m", 1, 1)) for n in range(300)))
        await audited.receipt("s299")
        kept = audited.storage.read("tile/entries/000")
        await audited.audit.prune(audited.now_ns + 91 * DAY_NS)
        audited.storage.write([("tile/entries/000", kept)])  # as if killed before it was removed
        await audited.audit.prune(audited.now_ns + 91 * DAY_NS)
        assert audited.storage.read("tile/entries/000") is None


async def test_too_many_that_wait_are_refused_and_none_is_lost(
    make: Any, make_record: MakeRecord
) -> None:
    audited = make(waiting_max=3)
    audited.store.take(report(*(make_record(f"r{n}", ("m", 1, 1)) for n in range(3))))
    with pytest.raises(ServiceUnavailable, match="3 entries wait for the audit log"):
        audited.store.take(report(make_record("r3", ("m", 1, 1))))
    assert audited.store.get("r3") is None  # so that it comes again
    async with audited.serving():
        await audited.receipt("r2")
        await audited.take(make_record("r3", ("m", 1, 1)))
        await audited.receipt("r3")
        assert audited.check().entries == 4


async def test_while_the_log_cannot_be_written_records_are_taken_and_wait(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        await audited.take(make_record("r1", ("m", 1, 1)))
        await audited.receipt("r1")
        tile = audited.storage.root / "tile"
        tile.rename(tile.with_name("away"))
        tile.write_bytes(b"in the way")
        record_id = f"{time.time_ns():016x}0000000000000000"
        await audited.take(make_record(record_id, ("m", 1, 1)))
        await asyncio.sleep(0.2)
        error = await audited.refused(record_id)
        assert (error.reason, error.retry_after_s) == ("SERVICE_UNAVAILABLE", 1.0)
        assert "is not in the audit log yet: " in error.message
        tile.unlink()
        tile.with_name("away").rename(tile)
        await audited.receipt(record_id)
        assert (audited.check().found, audited.check().entries) == (0, 2)


async def test_a_damaged_tile_is_said_to_who_asks_for_a_receipt(
    make: Any, make_record: MakeRecord
) -> None:
    async with make().serving() as audited:
        await audited.take(tuple(make_record(f"r{n}", ("m", 1, 1)) for n in range(5)))
        await audited.receipt("r4")
        (audited.storage.root / "tile/0/000.p/5").write_bytes(b"cut")
        error = await audited.refused("r1")
        assert error.reason == "NOT_POSSIBLE_NOW"
        assert "the audit log is damaged: `tile/0/000.p/5`" in error.message


async def test_a_log_that_is_gone_stops_the_start(
    make: Any, make_record: MakeRecord, tmp_path: Path
) -> None:
    async with make().serving() as audited:
        await audited.take(make_record("r1", ("m", 1, 1)))
        await audited.receipt("r1")
    audited.close()
    (tmp_path / "audit").rename(tmp_path / "elsewhere")
    with pytest.raises(NotPossibleNow, match="is gone: 1 entries were published"):
        async with make().serving():
            pass


async def test_a_clock_that_goes_back_changes_no_order(make: Any, make_record: MakeRecord) -> None:
    async with make().serving() as audited:
        for number in range(4):
            audited.now_ns -= 3_600 * 10**9
            await audited.take(
                make_record(f"r{number}", ("m", 1, 1), at_s=2_000_000_000 - number * 9_999)
            )
        answer = await audited.receipt("r3")
        assert verify_receipt(answer.proof, verifiers()).leaf_index == 3
        assert audited.check().entries == 4


def test_a_refused_record_leaves_no_entry(make: Any, make_record: MakeRecord) -> None:
    audited = make()
    bad = make_record("r2", ("m", 1, 1))
    bad.tenant = "No Path"
    with pytest.raises(InvalidInput):
        audited.store.take(report(make_record("r1", ("m", 1, 1)), bad))
    assert audited.store.audited(head_of).next_index == 0


def test_nonces_are_overwritten_and_leave_the_write_ahead_log(tmp_path: Path) -> None:
    with contextlib.closing(NonceStore(tmp_path / "n.db")) as nonces:
        secret = bytes(range(128)) + bytes(range(100, 228)) + bytes(range(128))
        nonces.put(10, secret)
        nonces.destroy([11, 99])
        assert nonces.get(11) == secret[128:192] + bytes(64)
        assert (nonces.get(10), nonces.get(12)) == (secret[:128], secret[256:])
        assert (nonces.get(9), nonces.get(13)) == (None, None)
    for path in tmp_path.iterdir():
        assert secret[192:256] not in path.read_bytes(), path
    with sqlite3.connect(tmp_path / "n.db") as plain:
        assert plain.execute("SELECT count(*) FROM nonces").fetchone() == (1,)
    plain.close()
