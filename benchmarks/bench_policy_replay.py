"""How many recorded decisions a second can be made again with other policies?

`policy.replay.decisions_per_s` is the engine's way: vectors in memory, decoded, decided, compared,
counted. `policy.replay.pipeline_per_s` is all of it: `PolicyService.Replay` over gRPC, which reads them
from a Telemetry service over gRPC, which reads them from SQLite. CPU seconds of the one process that
does all three.

Back of the envelope: to decode a vector costs 3 us, to decide 3 us, to compare and count 2 us: 100,000
a second. SQLite, two times protobuf and two times gRPC in pages of 2,000 add some 5 us.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from _result import emit

from harmost.core.audit.rows import RecordSummary
from harmost.core.policy.decision import Decision
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, FactValue, candidate_facts, checked_facts
from harmost.core.policy.replay import Recorded, Replay
from harmost.core.policy.vector import encoded
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.signing import Signer, new_signing_key
from harmost.core.resources.snapshot import compile_snapshot
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.convert.record import record_to_proto
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.service import PolicyServicer
from harmost.services.policy.store import PolicyStore
from harmost.services.policy.vectors import vectors_of
from harmost.services.telemetry.service import TelemetryServicer
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.transport import bearer
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

RULES = 1_000
TENANTS = 100
VECTORS = 40_000
MODELS = tuple(f"m{n}" for n in range(3))
ALLOWED = Decision(effect="allow", candidates=MODELS, snapshot_generation=1)
NOW_NS = time.time_ns()  # what is older than the retention would be forgotten meanwhile
KEYS = {"all": Principal("all", "", frozenset({"service", "author"}))}
HEAD = "apiVersion: harmost.dev/v1\nkind: {}\nmetadata: {{name: {}{}}}\n"


def documents() -> str:
    """A tenth of the calls will flip: those for ads."""
    parts = [
        HEAD.format("Provider", "v", "")
        + 'spec: {codec: openai, base_url: "https://api.example.com/v1", region: US}\n'
    ]
    parts += [
        HEAD.format("Model", name, "") + "spec: {provider: v, vendor_model_id: x, price: unknown}\n"
        for name in MODELS
    ]
    for number in range(TENANTS):
        parts.append(HEAD.format("Tenant", f"t{number}", ""))
        rules = "".join(
            f"    - {{name: r{n}, when: 'input.tokens > {5_000 + n} && purpose == \"p{n % 7}\"', "
            "deny: too large}\n"
            for n in range(RULES // TENANTS - 1)
        )
        parts.append(
            HEAD.format("Policy", f"p{number}", f", tenant: t{number}")
            + f'spec:\n  rules:\n{rules}    - {{name: ads, when: purpose == "ads", deny: no}}\n'
        )
    return "---\n".join(parts)


def recorded(number: int) -> Recorded:
    facts: dict[str, FactValue] = checked_facts(
        {
            "request.tenant": f"t{number % TENANTS}",
            "request.profile": "support",
            "request.principal": "app",
            "labels": {"env": "prod", "team": "search"},
            "purpose": "ads" if number % 10 == 0 else "support",
            "data.classes": ["email", "personal"],
            "input.tokens": number % 5_000,
        },
        scope=FactScope.REQUEST,
    )
    vector = encoded(facts, MODELS, ALLOWED)
    return Recorded(f"r{number:030}", f"t{number % TENANTS}", "support", NOW_NS + number, vector)


def engine_alone(kept: list[Recorded]) -> None:
    snapshot = compile_snapshot(2, parse_sources([Source("d", documents().encode())]))
    catalog, prices = snapshot.catalog, snapshot.prices.at(0)

    def candidate_of(name: str) -> Candidate:
        spec = catalog.models[name].spec
        provider = catalog.providers[spec.provider].spec
        facts = candidate_facts(name, spec, spec.provider, provider, prices[name])
        return Candidate(name, facts)

    replay = Replay(snapshot.engine, candidate_of)
    replay.over(kept[:1_000], flips_max=0)
    begun_s = time.process_time()
    replay.over(kept, flips_max=0)
    took_s = time.process_time() - begun_s
    assert replay.flips == (len(kept) + 1_000) // 10, replay
    emit("policy.replay.decisions_per_s", len(kept) / took_s, "1/s", len(kept))


def record(kept: Recorded) -> telemetry_pb2.Record:
    return record_to_proto(
        RecordSummary(
            record_id=kept.record_id,
            tenant=kept.tenant,
            profile=kept.profile,
            principal="app",
            router_id="router-0",
            status="completed",
            started_at_ns=kept.started_ns,
            fact_vectors=(kept.vector,),
        )
    )


@asynccontextmanager
async def serving(
    folder: Path, kept: list[Recorded]
) -> AsyncIterator[policy_pb2_grpc.PolicyServiceStub]:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(TelemetryStore(folder / "t.db")))
        for start in range(0, len(kept), 1_000):
            records = [record(each) for each in kept[start : start + 1_000]]
            store.take(telemetry_pb2.ReportRequest(records=records))
        policies = stack.enter_context(contextlib.closing(PolicyStore(folder / "p.db")))
        telemetry = TelemetryServicer(store)
        first = grpc.aio.server(interceptors=[Gate(KEYS.get)])
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(telemetry, first)
        port = first.add_insecure_port("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            read = vectors_of(channel, bearer("all"))
            policy = PolicyServicer(policies, Signer(new_signing_key()), read_vectors=read)
            second = grpc.aio.server(interceptors=[Gate(KEYS.get)])
            policy_pb2_grpc.add_PolicyServiceServicer_to_server(policy, second)
            port = second.add_insecure_port("127.0.0.1:0")
            async with telemetry.running(), policy.running():
                await first.start()
                await second.start()
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as caller:
                    yield policy_pb2_grpc.PolicyServiceStub(caller)
                await second.stop(None)
                await first.stop(None)


async def pipeline(kept: list[Recorded]) -> None:
    sources = [policy_pb2.Source(name="d.yaml", yaml=documents().encode())]
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder), kept) as stub:
            await stub.Apply(policy_pb2.ApplyRequest(sources=sources), metadata=bearer("all"))
            begun_s = time.process_time()
            request = policy_pb2.ReplayRequest(flips_max=1)
            async for answer in stub.Replay(request, metadata=bearer("all")):
                summary = answer.summary
            took_s = time.process_time() - begun_s
    assert (summary.decisions, summary.flips) == (len(kept), len(kept) // 10), summary
    emit("policy.replay.pipeline_per_s", len(kept) / took_s, "1/s", len(kept))


def cost_of_recording(kept: list[Recorded]) -> None:
    facts = checked_facts({"request.tenant": "acme"}, scope=FactScope.REQUEST)
    begun_s = time.process_time()
    for _ in range(100_000):
        encoded(facts, MODELS, ALLOWED)
    took_s = time.process_time() - begun_s
    emit("policy.vector.encode_us", took_s * 10, "us", 100_000)
    emit("policy.vector.bytes", sum(len(each.vector) for each in kept) / len(kept), "B", len(kept))


def main() -> None:
    kept = [recorded(number) for number in range(VECTORS)]
    cost_of_recording(kept)
    engine_alone(kept)
    asyncio.run(pipeline(kept))


main()
