"""Replay reads what the real Telemetry kept and answers with flips, progress and a summary."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from harmost.core.audit.rows import RecordSummary
from harmost.core.policy.decision import Decision
from harmost.core.policy.facts import FactScope, checked_facts
from harmost.core.policy.vector import encoded
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.record import record_to_proto
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.vectors import vectors_of
from harmost.services.telemetry import service as telemetry_module
from harmost.services.telemetry.service import TelemetryServicer
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.transport import bearer
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

T0 = 1_800_000_000
NO_ADS = """
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: candidate, tenant: acme}
spec:
  rules:
    - {name: no-ads, when: purpose == "ads" || request.data_subject_id == "x", deny: not here}
"""
ALLOWED = Decision(effect="allow", candidates=("small", "european"))


def record(number: int, purpose: str, tenant: str) -> telemetry_pb2.Record:
    facts = {"request.tenant": tenant, "request.profile": "hello", "purpose": purpose}
    vector = encoded(checked_facts(facts, scope=FactScope.REQUEST), ("small", "european"), ALLOWED)
    return record_to_proto(
        RecordSummary(
            record_id=f"r{number}",
            tenant=tenant,
            profile="hello",
            principal="app",
            router_id="router-0",
            status="completed",
            started_at_ns=(T0 + number) * 10**9,
            fact_vectors=(vector,),
        )
    )


@asynccontextmanager
async def telemetry(path: Path, *records: telemetry_pb2.Record) -> AsyncIterator[grpc.aio.Channel]:
    with contextlib.closing(TelemetryStore(path)) as store:
        store.take(telemetry_pb2.ReportRequest(batch=1, records=records))
        servicer = TelemetryServicer(store)
        keys = {"mesh": Principal("mesh", "", frozenset({"service"}))}
        server = grpc.aio.server(interceptors=[Gate(keys.get)])
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        async with servicer.running(), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await server.start()
            yield channel
            await server.stop(None)


@pytest.fixture
async def mesh(tmp_path: Path, serve: Any, base: str) -> AsyncIterator[Any]:
    """Five calls of acme, of which r1 and r3 were for ads, and one of globex, for ads as well."""
    records = [
        record(n, "ads" if n in (1, 3) else "", "acme/retail" if n == 3 else "acme")
        for n in range(5)
    ]
    async with telemetry(tmp_path / "t.db", *records, record(5, "ads", "globex")) as channel:
        read = vectors_of(channel, bearer("mesh"))
        async with serve(tmp_path / "policy.db", read) as running:
            await running.caller("root").apply(base)
            yield running


async def replayed(caller: Any, yaml: str = NO_ADS, **fields: Any) -> list[Any]:
    sources = [policy_pb2.Source(name="c.yaml", yaml=yaml.encode())] if yaml else []
    request = policy_pb2.ReplayRequest(sources=sources, **fields)
    call = caller.stub.Replay(request, metadata=caller.metadata, timeout=30)
    return [answer async for answer in call]


def flips(answers: list[Any]) -> list[str]:
    return [answer.record_id for answer in answers if answer.record_id]


async def test_flips_come_newest_first_then_the_summary(mesh: Any) -> None:
    answers = await replayed(mesh.caller("root"))
    assert flips(answers) == ["r3", "r1"]
    assert answers[0].before.candidates == ["small", "european"]
    assert answers[0].after.denied_by.rule == "no-ads"
    assert answers[0].changes == [policy_pb2.REPLAY_CHANGE_ALLOW_TO_DENY]
    summary = answers[-1].summary
    assert (summary.decisions, summary.flips, summary.skipped) == (6, 2, 0)
    assert [(g.tenant, g.decisions, g.allow_to_deny) for g in summary.groups] == [
        ("acme", 4, 1),
        ("acme/retail", 1, 1),
    ]
    assert summary.facts_not_recorded == ["request.data_subject_id"]
    assert mesh.servicer.current().generation == 1


async def test_the_running_documents_change_nothing(mesh: Any) -> None:
    answers = await replayed(mesh.caller("root"), yaml="")
    assert flips(answers) == []
    assert answers[-1].summary.decisions == 6


async def test_a_tenant_replays_its_own_calls_with_its_own_documents(mesh: Any) -> None:
    mine = NO_ADS.replace("tenant: acme", "tenant: acme/retail")
    answers = await replayed(mesh.caller("retail"), mine)
    assert answers[-1].summary.decisions == 1
    assert flips(answers) == ["r3"]
    for yaml, fields, code in (
        (NO_ADS, {}, grpc.StatusCode.PERMISSION_DENIED),
        (mine, {"tenant": "acme"}, grpc.StatusCode.PERMISSION_DENIED),
        ("kind: Nope", {}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replayed(mesh.caller("retail"), yaml, **fields)
        assert caught.value.code() == code


async def test_bounds_of_the_answer_hold(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_module, "VECTORS_AT_ONCE", 2)
    answers = await replayed(mesh.caller("root"), flips_max=1)
    assert flips(answers) == ["r3"]
    assert answers[-1].summary.flips == 2
    assert [answer.replayed for answer in answers if not answer.record_id] == [2, 4, 6, 6]
    few = await replayed(mesh.caller("root"), decisions_max=3)
    assert (few[-1].summary.decisions, few[-1].summary.truncated) == (3, True)
    all_of_them = await replayed(mesh.caller("root"), decisions_max=6)
    assert not all_of_them[-1].summary.truncated


async def test_times_bound_what_is_read(mesh: Any) -> None:
    request: dict[str, Any] = {}
    request["start"], request["end"] = {"seconds": T0 + 1}, {"seconds": T0 + 3}
    answers = await replayed(mesh.caller("root"), **request)
    assert answers[-1].summary.decisions == 2


async def test_one_runs_at_a_time_and_leaving_makes_room(mesh: Any) -> None:
    root = mesh.caller("root")
    many = [policy_pb2.Source(name="c.yaml", yaml=NO_ADS.encode())]
    call = root.stub.Replay(policy_pb2.ReplayRequest(sources=many), metadata=root.metadata)
    held = asyncio.Event()
    read = mesh.servicer._replays._read

    async def slow(request: Any) -> Any:
        held.set()
        await asyncio.sleep(30)
        async for page in read(request):
            yield page

    mesh.servicer._replays._read = slow
    reading = asyncio.ensure_future(call.read())
    await held.wait()
    mesh.servicer._replays._read = read
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replayed(root)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    for _ in range(100):
        if not mesh.servicer._replays._busy:
            break
        await asyncio.sleep(0.01)
    assert flips(await replayed(root)) == ["r3", "r1"]


async def test_without_telemetry_it_says_what_is_missing(path: Path, serve: Any) -> None:
    async with serve(path) as mesh:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replayed(mesh.caller("root"))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "`--telemetry`" in str(caught.value.details())
    async with (
        grpc.aio.insecure_channel("127.0.0.1:1") as nobody,
        serve(path, vectors_of(nobody, bearer("mesh"))) as mesh,
    ):
        await mesh.caller("root").apply(
            "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n"
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replayed(mesh.caller("root"), yaml="")
        assert "the telemetry service does not answer" in str(caught.value.details())


def recorded(number: int, **fields: Any) -> policy_pb2.ExplainRequest:
    return policy_pb2.ExplainRequest(
        record_id=f"r{number}", record_started_at={"seconds": T0 + number}, **fields
    )


async def test_a_record_is_explained_by_the_documents_that_run_now(mesh: Any) -> None:
    before = await mesh.caller("root")("Explain", recorded(1))
    assert list(before.decision.candidates) == ["small", "european"]
    await mesh.caller("root").apply(NO_ADS)
    after = await mesh.caller("root")("Explain", recorded(1))
    assert after.decision.denied_by.rule == "no-ads"
    told = next(each for each in after.rules if each.rule.rule == "no-ads")
    assert told.atoms[0].facts["purpose"].string_value == "ads"


@pytest.mark.parametrize(
    ("key", "request_", "reason"),
    [
        ("root", recorded(9), "NOT_FOUND"),
        ("acme", recorded(5), "NOT_FOUND"),  # of globex
        ("root", policy_pb2.ExplainRequest(record_id="r1"), "INVALID_INPUT"),
        ("root", recorded(1, profile="hello"), "INVALID_INPUT"),
        (
            "root",
            policy_pb2.ExplainRequest(record_id="r1", record_started_at={"seconds": T0 + 2}),
            "NOT_FOUND",
        ),
    ],
)
async def test_a_record_that_is_not_kept_or_not_to_be_seen_is_not_explained(
    mesh: Any, key: str, request_: Any, reason: str
) -> None:
    found, _ = await mesh.caller(key).refused("Explain", request_)
    assert found == reason


async def test_replays_and_changes_at_once_do_not_disturb_each_other(mesh: Any) -> None:
    """Both compile from what the running generation compiled, each on a thread of its own."""
    root = mesh.caller("root")

    async def change(number: int) -> None:
        rules = "".join(
            f"    - {{name: r{n}, when: 'input.tokens > {n + number}', deny: x}}\n"
            for n in range(50)
        )
        head = "apiVersion: harmost.dev/v1\nkind: Policy\nmetadata: {name: other, tenant: globex}\n"
        await root.apply(f"{head}spec:\n  rules:\n{rules}")

    async def keep_replaying() -> list[list[str]]:
        return [flips(await replayed(root)) for _ in range(5)]

    replays, *_ = await asyncio.gather(keep_replaying(), *(change(n) for n in range(5)))
    assert replays == [["r3", "r1"]] * 5
    assert mesh.servicer.current().generation == 6
