"""A watcher keeps the newest good snapshot through refusals, restarts and Policy's absence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from signing import SIGNER, none_revoked, signed, verifier

from harmost.core.errors import NotPossibleNow
from harmost.core.resources.dump import content_digest
from harmost.core.resources.signing import Verifier
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc
from harmost.services.interceptors.gate import Gate
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.service import PolicyServicer
from harmost.services.policy.store import PolicyStore
from harmost.services.snapshots.watcher import SnapshotWatcher

KEYS = {"root": Principal("root", "", frozenset({"service", "author"}))}
METADATA = (("authorization", "Bearer root"),)
WAIT_S = 20


class Policy:
    """A real Policy service that can stop and come back on the same port."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.port = 0
        self.signer = SIGNER

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        store = PolicyStore(self._path)
        servicer = PolicyServicer(store, self.signer)
        server = grpc.aio.server(interceptors=[Gate(KEYS.get)])
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        try:
            async with servicer.running():
                await server.start()
                yield
                await server.stop(None)
        finally:
            store.close()

    def channel(self) -> grpc.aio.Channel:
        options = [
            ("grpc.max_reconnect_backoff_ms", 100),
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)

    async def apply(self, *tenants: str) -> int:
        text = "---\n".join(
            f"apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {{name: {name}}}\n"
            for name in tenants
        )
        async with self.channel() as channel:
            response = await policy_pb2_grpc.PolicyServiceStub(channel).Apply(
                policy_pb2.ApplyRequest(
                    sources=[policy_pb2.Source(name="t.yaml", yaml=text.encode())]
                ),
                metadata=METADATA,
                timeout=WAIT_S,
            )
        return response.generation


class Scripted(policy_pb2_grpc.PolicyServiceServicer):
    """Sends the snapshots that it is given and keeps the answers; for what the real one never does.

    Before them it says that nothing is revoked; the answer to that is not among `answers`.
    """

    def __init__(self, *messages: policy_pb2.Snapshot | policy_pb2.Revocations) -> None:
        self._messages = messages
        self.answers: list[policy_pb2.WatchSnapshotRequest] = []

    async def WatchSnapshot(self, requests, context):  # type: ignore[no-untyped-def]
        self.answers.append(await anext(requests))
        yield policy_pb2.WatchSnapshotResponse(revocations=none_revoked())
        await anext(requests)
        for message in self._messages:
            if isinstance(message, policy_pb2.Snapshot):
                yield policy_pb2.WatchSnapshotResponse(snapshot=message)
            else:
                yield policy_pb2.WatchSnapshotResponse(revocations=message)
            self.answers.append(await anext(requests))
        await asyncio.Event().wait()

    @asynccontextmanager
    async def watched(
        self,
        cache_path: Path | None = None,
        listener: Callable[[CompiledSnapshot], None] | None = None,
    ) -> AsyncIterator[SnapshotWatcher]:
        """A watcher that has answered every snapshot."""
        server = grpc.aio.server()
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            watcher = SnapshotWatcher(
                channel,
                watcher_id="w",
                metadata=METADATA,
                verifier=verifier,
                cache_path=cache_path,
            )
            if listener:
                watcher.on_change(listener)
            async with watcher.running():
                await until(lambda: len(self.answers) > len(self._messages))
                yield watcher
        await server.stop(None)


def made(generation: int, *tenants: str, damaged: bool = False) -> policy_pb2.Snapshot:
    resources = [
        policy_pb2.Resource(
            kind="Tenant",
            name=name,
            yaml=f"apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata:\n  name: {name}\nspec: {{}}\n".encode(),
        )
        for name in tenants
    ]
    digest = content_digest(item.yaml for item in resources)
    return signed(
        policy_pb2.Snapshot(
            generation=generation, digest=b"?" if damaged else digest, resources=resources
        )
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy(tmp_path / "policy.db")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "router" / "snapshot.binpb"


@asynccontextmanager
async def watching(
    policy: Policy, cache: Path | None, trusts: Callable[[], Verifier] = verifier
) -> AsyncIterator[SnapshotWatcher]:
    async with policy.channel() as channel:
        watcher = SnapshotWatcher(
            channel, watcher_id="w", metadata=METADATA, verifier=trusts, cache_path=cache
        )
        async with watcher.running():
            yield watcher


async def test_snapshot_arrives_and_follows_changes(policy: Policy) -> None:
    async with policy.serving():
        await policy.apply("acme")
        async with watching(policy, None) as watcher:
            await watcher.ready(WAIT_S)
            assert set(watcher.current().catalog.tenants) == {"acme"}
            await until(lambda: watcher.age_s() == 0)
            await policy.apply("globex")
            await until(lambda: watcher.current().generation == 2)
            assert set(watcher.current().catalog.tenants) == {"acme", "globex"}


async def test_nothing_is_there_before_the_first(policy: Policy) -> None:
    async with policy.serving(), watching(policy, None) as watcher:
        with pytest.raises(NotPossibleNow, match="no policy snapshot yet"):
            watcher.current()
        with pytest.raises(NotPossibleNow):
            await watcher.ready(0.05)
        assert watcher.age_s() == float("inf")
        await policy.apply("acme")
        await watcher.ready(WAIT_S)


async def test_last_good_snapshot_goes_on_without_policy(policy: Policy, cache: Path) -> None:
    async with policy.serving():
        await policy.apply("acme")
        async with watching(policy, cache):
            await until(cache.exists)
    async with watching(policy, cache) as watcher:
        await watcher.ready(0)
        assert watcher.current().generation == 1
        assert 0 < watcher.age_s() < WAIT_S
    assert cache.stat().st_mode & 0o777 == 0o600


async def test_watcher_comes_back_after_policy_does(policy: Policy, cache: Path) -> None:
    async with policy.serving():
        await policy.apply("acme")
    async with watching(policy, cache) as watcher:
        async with policy.serving():
            await watcher.ready(WAIT_S)
        await until(lambda: watcher.age_s() > 0)
        async with policy.serving():
            await policy.apply("globex")
            await until(lambda: watcher.current().generation == 2)


async def test_damaged_cache_is_left_out(policy: Policy, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(made(5, "acme", damaged=True).SerializeToString())
    cache.with_name("revocations.binpb").write_bytes(none_revoked().SerializeToString())
    async with policy.serving():
        await policy.apply("acme")
        async with watching(policy, cache) as watcher:
            await watcher.ready(WAIT_S)
            assert watcher.current().generation == 1
    cache.write_bytes(b"\xff\xff\xff")
    async with policy.serving(), watching(policy, cache) as watcher:
        await watcher.ready(WAIT_S)


async def test_lower_generation_is_refused() -> None:
    policy = Scripted(made(5, "acme"), made(4, "globex"))
    async with policy.watched() as watcher:
        assert set(watcher.current().catalog.tenants) == {"acme"}
        assert "`4` is not above the running `5`" in policy.answers[2].nack
        assert watcher.age_s() > 0


async def test_same_generation_again_is_taken_without_work() -> None:
    heard: list[int] = []
    policy = Scripted(made(5, "acme"), made(5, "acme"), made(5, "globex"))
    async with policy.watched(listener=lambda snapshot: heard.append(snapshot.generation)):
        assert [bool(answer.nack) for answer in policy.answers] == [False, False, False, True]
        assert heard == [5]


async def test_snapshot_that_does_not_compile_leaves_the_old_one(cache: Path) -> None:
    policy = Scripted(made(1, "acme"), made(2, "orphan/child"), made(3, "acme", damaged=True))
    async with policy.watched(cache) as watcher:
        assert watcher.current().generation == 1
        assert "tenant `orphan` does not exist" in policy.answers[2].nack
        assert "is damaged" in policy.answers[3].nack
    assert policy_pb2.Snapshot.FromString(cache.read_bytes()).generation == 1


async def test_listener_hears_before_the_snapshot_is_current_and_may_refuse() -> None:
    seen: list[int] = []

    def listener(snapshot: CompiledSnapshot) -> None:
        seen.append(snapshot.generation)
        if snapshot.generation == 2:
            raise RuntimeError("cannot use it")

    policy = Scripted(made(1, "a"), made(2, "b"), made(3, "c"))
    async with policy.watched(listener=listener) as watcher:
        assert seen == [1, 2, 3]
        assert policy.answers[2].nack == "RuntimeError: cannot use it"
        assert watcher.current().generation == 3


async def test_wrong_key_is_tried_again_without_end(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    async with policy.serving():
        await policy.apply("acme")
        async with policy.channel() as channel:
            metadata = (("authorization", "Bearer wrong"),)
            watcher = SnapshotWatcher(
                channel, watcher_id="w", metadata=metadata, verifier=verifier, cache_path=None
            )
            async with watcher.running():
                await until(lambda: caplog.text.count("watching policy failed") >= 2)
    assert "the key is not known" in caplog.text
