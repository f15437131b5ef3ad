"""WatchSnapshot pushes the newest set to every watcher and hears what became of it."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from signing import SIGNER

from harmost.core.resources.dump import content_digest
from harmost.policy.v1 import policy_pb2

TENANT = "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: %s}\n"


def hello(generation: int = 0, nack: str = "") -> policy_pb2.WatchSnapshotRequest:
    return policy_pb2.WatchSnapshotRequest(watcher_id="r1", generation=generation, nack=nack)


async def watch(mesh: Any) -> Any:
    caller = mesh.caller("service")
    call = caller.stub.WatchSnapshot(metadata=caller.metadata, timeout=30)
    await call.write(hello())
    return call


async def test_watcher_gets_what_runs_then_each_newer(mesh: Any) -> None:
    call = await watch(mesh)
    assert (await call.read()).revocations.sequence == 0
    first = (await call.read()).snapshot
    assert first.generation == 1
    assert first.digest == content_digest(item.yaml for item in first.resources)
    assert first.published_at.seconds > 1_700_000_000
    await mesh.caller("root").apply(TENANT % "initech")
    second = (await call.read()).snapshot
    assert second.generation == 2
    assert "initech" in {item.name for item in second.resources}
    call.cancel()


async def test_slow_watcher_skips_to_the_newest(mesh: Any) -> None:
    call = await watch(mesh)
    await call.read()
    await call.read()
    for name in ("a", "b", "c"):
        await mesh.caller("root").apply(TENANT % name)
    generations = []
    while not generations or generations[-1] < 4:
        generations.append((await call.read()).snapshot.generation)
    assert generations == sorted(set(generations))
    call.cancel()


async def test_watcher_waits_for_the_first_documents(path: Path, serve: Any) -> None:
    async with serve(path) as mesh:
        call = await watch(mesh)
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0.05)
        assert not reading.done()
        await mesh.caller("root").apply(TENANT % "acme")
        assert (await reading).HasField("revocations")
        assert (await call.read()).snapshot.generation == 1
        call.cancel()


async def test_nack_is_logged_with_its_watcher(mesh: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "harmost.services.policy")
    call = await watch(mesh)
    await call.read()
    await call.read()
    await call.write(hello(1, nack="cannot compile"))
    await call.write(hello(1))
    for _ in range(100):
        if "took" in caplog.text:
            break
        await asyncio.sleep(0.01)
    assert "watcher 'r1' refused generation 1: cannot compile" in caplog.text
    assert "watcher 'r1' took generation 1" in caplog.text
    call.cancel()


async def test_watcher_that_stops_answering_is_still_served(mesh: Any) -> None:
    call = await watch(mesh)
    await call.done_writing()
    await call.read()
    assert (await call.read()).snapshot.generation == 1
    await mesh.caller("root").apply(TENANT % "a")
    assert (await call.read()).snapshot.generation == 2
    call.cancel()


async def test_answer_that_breaks_a_bound_ends_the_watch(mesh: Any) -> None:
    call = await watch(mesh)
    await call.read()
    await call.read()
    await call.write(hello(1, nack="x" * 5_000))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_only_services_watch(mesh: Any) -> None:
    caller = mesh.caller("acme")
    call = caller.stub.WatchSnapshot(metadata=caller.metadata, timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_drain_ends_every_watch(mesh: Any) -> None:
    call = await watch(mesh)
    await call.read()
    await call.read()
    mesh.servicer.drain()
    assert await call.read() is grpc.aio.EOF


async def status(mesh: Any, key: str = "root") -> policy_pb2.GetStatusResponse:
    return await mesh.caller(key)("GetStatus", policy_pb2.GetStatusRequest())


async def watcher(mesh: Any, **wanted: Any) -> policy_pb2.Watcher:
    """The only watcher, once its fields are as `wanted`."""
    for _ in range(200):
        found = (await status(mesh)).watchers
        if found and all(getattr(found[0], name) == value for name, value in wanted.items()):
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError(f"{found} is not {wanted}")


async def test_status_tells_what_runs_and_who_took_it(mesh: Any) -> None:
    await mesh.caller("root").apply(TENANT % "a", source_revision="0123abc-dirty")
    found = await status(mesh)
    assert (found.generation.generation, found.generation.author) == (2, "root")
    assert found.generation.source_revision == "0123abc-dirty"
    assert found.key_id == SIGNER.key_id
    call = await watch(mesh)
    await call.read()
    await call.read()
    silent = await watcher(mesh, sent_generation=2)
    assert (silent.watcher_id, silent.generation) == ("r1", 0)
    assert not silent.HasField("answered_at")
    await call.write(hello(2, nack="cannot compile"))
    await watcher(mesh, nack="cannot compile")
    await call.write(hello(1))
    await watcher(mesh, generation=1, nack="cannot compile")
    await call.write(hello(2))
    await watcher(mesh, generation=2, nack="")
    call.cancel()


async def test_status_of_watchers_is_for_the_whole_deployment(mesh: Any) -> None:
    call = await watch(mesh)
    await call.read()
    theirs = await status(mesh, "acme")
    assert not theirs.watchers
    assert theirs.generation.generation == 1
    assert not theirs.generation.author
    assert (await status(mesh)).watchers
    call.cancel()


async def test_a_watcher_that_is_gone_is_not_shown(mesh: Any) -> None:
    call = await watch(mesh)
    await call.read()
    call.cancel()
    for _ in range(200):
        if not (await status(mesh)).watchers:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is still shown")


async def test_a_watcher_that_never_answers_is_named_at_the_next_snapshot(
    mesh: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmost.services.policy.watchers.SILENT_NS", 0)
    call = await watch(mesh)
    await call.read()
    await call.read()
    await mesh.caller("root").apply(TENANT % "a")
    assert (await call.read()).snapshot.generation == 2
    assert "watcher 'r1' did not answer generation 1" in caplog.text
    call.cancel()


async def test_history_tells_each_generation(mesh: Any) -> None:
    root = mesh.caller("root")
    await root.apply(TENANT % "a", source_revision="0123abc")
    await root.apply(TENANT % "b")
    await root.rollback(2)
    answer = await root("ListGenerations", policy_pb2.ListGenerationsRequest())
    told = [
        (g.generation, g.source_revision, g.rolled_back_to, g.changed, g.removed)
        for g in answer.generations
    ]
    assert told == [
        (4, "0123abc", 2, 0, 1),
        (3, "0123abc+local", 0, 1, 0),
        (2, "0123abc", 0, 1, 0),
        (1, "", 0, 9, 0),
    ]
    newest = await root("ListGenerations", policy_pb2.ListGenerationsRequest(page_size=1))
    assert [g.generation for g in newest.generations] == [4]


async def test_a_revision_that_is_none_is_refused(mesh: Any) -> None:
    source = policy_pb2.Source(name="t.yaml", yaml=(TENANT % "a").encode())
    request = policy_pb2.ApplyRequest(sources=[source], source_revision="a\nb")
    reason, _ = await mesh.caller("root").refused("Apply", request)
    assert reason == "INVALID_INPUT"
