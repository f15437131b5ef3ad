"""WatchSnapshot pushes the newest set to every watcher and hears what became of it."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest

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
        assert (await reading).snapshot.generation == 1
        call.cancel()


async def test_nack_is_logged_with_its_watcher(mesh: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "harmost.services.policy")
    call = await watch(mesh)
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
    assert (await call.read()).snapshot.generation == 1
    await mesh.caller("root").apply(TENANT % "a")
    assert (await call.read()).snapshot.generation == 2
    call.cancel()


async def test_answer_that_breaks_a_bound_ends_the_watch(mesh: Any) -> None:
    call = await watch(mesh)
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
    mesh.servicer.drain()
    assert await call.read() is grpc.aio.EOF
