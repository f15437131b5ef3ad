"""Apply and Rollback over and over, under load: watchers see whole generations, in order, and no other."""

import asyncio
from pathlib import Path

import grpc
import pytest
from effort import effort
from signing import SIGNER, verifier

from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.service import PolicyServicer
from harmost.services.policy.store import PolicyStore
from harmost.services.snapshots.watcher import SnapshotWatcher

KEYS = {"root": Principal("root", "", frozenset({"service", "author"}))}
METADATA = (("authorization", "Bearer root"),)
BOTH = """
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme}}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {{name: p}}
spec: {{rules: [{{name: r, when: "true", cap_output_tokens: {number}}}]}}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {{name: q}}
spec: {{rules: [{{name: r, when: "true", cap_output_tokens: {number}}}]}}
"""


@pytest.mark.timeout(120)
async def test_rollbacks_under_load_never_show_half_a_generation(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "policy.db")
    servicer = PolicyServicer(store, SIGNER)
    server = grpc.aio.server(interceptors=[Gate(KEYS.get)])
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    changes = effort(12, ci=60, nightly=600)
    published: dict[int, int] = {}  # generation -> the number that it caps at
    seen: list[tuple[int, int]] = []
    async with servicer.running():
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = policy_pb2_grpc.PolicyServiceStub(channel)
            watcher = SnapshotWatcher(
                channel, watcher_id="w", metadata=METADATA, verifier=verifier, cache_path=None
            )

            async def decide() -> None:
                while True:
                    snapshot = watcher.current()
                    decision = snapshot.engine.explain({"request.tenant": "acme"}, (), now_s=0)[0]
                    assert len(decision.hits) == 2
                    seen.append((snapshot.generation, decision.output_tokens_max))
                    await asyncio.sleep(0)

            async def apply(number: int) -> None:
                source = policy_pb2.Source(name="t", yaml=BOTH.format(number=number).encode())
                done = await stub.Apply(
                    policy_pb2.ApplyRequest(sources=[source]), metadata=METADATA
                )
                published[done.generation] = number

            async with watcher.running():
                await apply(100)
                await watcher.ready(20)
                deciding = asyncio.ensure_future(decide())
                for number in range(1, changes):
                    await apply(100 + number)
                    back = policy_pb2.RollbackRequest(generation=max(1, 2 * number - 2))
                    done = await stub.Rollback(back, metadata=METADATA)
                    published[done.generation] = published[back.generation]
                newest = max(published)
                async with asyncio.timeout(20):
                    while watcher.current().generation < newest:
                        await asyncio.sleep(0.01)
                deciding.cancel()
                (ended,) = await asyncio.gather(deciding, return_exceptions=True)
                assert isinstance(ended, asyncio.CancelledError), ended
        await server.stop(None)
    store.close()
    assert [generation for generation, _ in seen] == sorted(generation for generation, _ in seen)
    assert all(published[generation] == cap for generation, cap in seen)
    assert len({generation for generation, _ in seen}) > 1
