"""Two workers on one port: each on its own; a killed one takes only its own streams with it."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from effort import effort, transports
from mesh import Mesh, eventually, running_mesh

from harmost.budget.v1 import budget_pb2
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.telemetry.v1 import telemetry_pb2

STREAMS = 6
LONG = "[[sandbox token_ms=20 latency_sigma=0 output_tokens=200]]"


@pytest.fixture(scope="module", params=transports())
def mesh(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mesh]:
    data = tmp_path_factory.mktemp("workers") / "data"
    with running_mesh(data, "--routers", "2", "--transport", request.param) as running:
        yield running


def chat(text: str) -> router_pb2.StreamChatRequest:
    part = router_pb2.Part(text=text)
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[part])
    return router_pb2.StreamChatRequest(profile="hello", messages=[message])


class Streams:
    """Streams at one worker, each on its own thread; what came of each."""

    def __init__(self, mesh: Mesh, address: str, count: int, text: str = LONG) -> None:
        self._mesh = mesh
        self._stub = router_pb2_grpc.RouterServiceStub(mesh.channel_to(address))
        self._text = text
        self.deltas = [0] * count
        self.finished: list[router_pb2.Finished] = []
        self.failed: list[grpc.StatusCode] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        eventually(lambda: all(self.deltas), what="a first token of each stream")
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int) -> None:
        try:
            call = self._stub.StreamChat(chat(self._text), metadata=self._mesh.metadata, timeout=30)
            for event in call:
                self.deltas[number] += event.HasField("delta")
                if event.HasField("finished"):
                    self.finished.append(event.finished)
        except grpc.RpcError as error:
            self.failed.append(error.code())


def stats(mesh: Mesh, worker: int) -> router_pb2.GetStatsResponse:
    stub = router_pb2_grpc.RouterServiceStub(mesh.channel_to(mesh.endpoints["workers"][worker]))
    return stub.GetStats(router_pb2.GetStatsRequest(), metadata=mesh.metadata, timeout=5)


def settled(mesh: Mesh) -> dict[str, int]:
    """Nano-USD by attempt, each settled once."""
    rows = [entry for entry in mesh.entries() if entry.kind == budget_pb2.ENTRY_KIND_SETTLE]
    by_attempt = {entry.attempt_id: entry.amount.usd_nanos for entry in rows}
    assert len(by_attempt) == len(rows)
    return by_attempt


def interrupted(mesh: Mesh) -> list[telemetry_pb2.Record]:
    status = telemetry_pb2.RECORD_STATUS_INTERRUPTED
    return [record for record in mesh.records() if record.status == status]


def test_connections_are_dealt_out_among_the_workers(mesh: Mesh) -> None:
    before = [stats(mesh, worker).calls for worker in (0, 1)]

    def both() -> bool:
        stub = router_pb2_grpc.RouterServiceStub(mesh.channel("router"))
        list(stub.StreamChat(chat("hello [[sandbox output_tokens=2]]"), metadata=mesh.metadata))
        return all(stats(mesh, worker).calls > before[worker] for worker in (0, 1))

    eventually(both, what="a call at both workers")
    names = {stats(mesh, worker).router_id for worker in (0, 1)}
    assert names == {"router-0", "router-1"}


@pytest.mark.timeout(120)
def test_a_killed_worker_ends_its_own_streams_and_no_others(mesh: Mesh) -> None:
    first, second = mesh.endpoints["workers"]
    with Streams(mesh, first, STREAMS) as lost, Streams(mesh, second, STREAMS) as kept:
        mesh.kill("router", 0)
    assert lost.failed == [grpc.StatusCode.UNAVAILABLE] * STREAMS
    assert lost.finished == []
    assert kept.failed == []
    assert len(kept.finished) == STREAMS
    assert kept.deltas == [200] * STREAMS
    mesh.quiet()
    billed = {attempt: cost for attempt, cost in mesh.billed().items() if cost}
    assert settled(mesh) == billed
    ours = {finished.record_id for finished in kept.finished}
    eventually(lambda: ours <= {record.record_id for record in mesh.records()}, what="records")
    eventually(lambda: len(interrupted(mesh)) == STREAMS, what="interrupted records")
    assert {record.router_id for record in interrupted(mesh)} == {"router-0"}


def test_top_tells_of_each_worker(mesh: Mesh) -> None:
    with Streams(mesh, mesh.endpoints["workers"][1], 3):
        said = json.loads(mesh.harmost("top", "--once", "--json", "--interval", "1").stdout)
    by_name: dict[str, dict[str, Any]] = {row["router_id"]: row for row in said["workers"]}
    assert by_name["router-0"]["calls_live"] == 0
    busy = by_name["router-1"]
    assert busy["calls_live"] == busy["attempts_held"] == 3
    assert 60 < busy["tokens_per_s"] < 240  # 3 streams of 50 a second
    assert busy["held_usd_nanos"] > 0
    assert busy["pid"] == mesh.pid("router", 1)
    assert "router-1" in mesh.harmost("top", "--once").stdout


def test_top_needs_the_role_of_an_operator(mesh: Mesh) -> None:
    key = mesh.key("acme", "caller-only", "caller")
    failed = mesh.harmost("top", "--once", "--key", key, check=False)
    assert failed.returncode == 1
    assert "needs one of the roles operator: `caller-only` has caller" in " ".join(
        failed.stderr.split()
    )


def test_top_shows_a_worker_that_is_down(mesh: Mesh) -> None:
    os.kill(mesh.pid("router", 1), signal.SIGSTOP)
    try:
        said = json.loads(mesh.harmost("top", "--once", "--json", "--interval", "0.1").stdout)
        assert [bool(row["error"]) for row in said["workers"]] == [False, True]
    finally:
        os.kill(mesh.pid("router", 1), signal.SIGCONT)


@pytest.mark.timeout(120)
def test_sigterm_lets_running_streams_end(mesh: Mesh) -> None:
    with Streams(mesh, mesh.endpoints["workers"][1], 3) as streams:
        old = mesh.pid("router", 1)
        os.kill(old, signal.SIGTERM)
    assert streams.failed == []
    assert streams.deltas == [200] * 3
    eventually(lambda: mesh.pid("router", 1) != old, what="a new worker")
    eventually(lambda: stats(mesh, 1).calls == 0, what="the new worker's answer")


@pytest.mark.skipif(
    not effort(0, ci=1, nightly=1), reason="it waits out ten seconds: with HARMOST_EFFORT=ci"
)
@pytest.mark.timeout(120)
def test_sigterm_has_a_limit(mesh: Mesh) -> None:
    text = "[[sandbox token_ms=100 latency_sigma=0 output_tokens=900]]"
    with Streams(mesh, mesh.endpoints["workers"][0], 2, text) as streams:
        began = time.monotonic()
        os.kill(mesh.pid("router", 0), signal.SIGTERM)
    assert streams.failed == [grpc.StatusCode.UNAVAILABLE] * 2
    assert 8 < time.monotonic() - began < 20
    mesh.quiet()
    billed = {attempt: cost for attempt, cost in mesh.billed().items() if cost}
    assert settled(mesh) == billed


@pytest.mark.timeout(180)
def test_a_slot_that_no_worker_has_any_more_is_replayed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_mesh(data, "--routers", "2") as two:
        second = two.endpoints["workers"][1]
        streams = Streams(two, second, 2)
        with streams:
            os.kill(two.process.pid, signal.SIGSTOP)  # so that nothing starts the worker again
            os.kill(two.pid("router", 1), signal.SIGKILL)
        assert streams.failed == [grpc.StatusCode.UNAVAILABLE] * 2
        os.kill(two.process.pid, signal.SIGCONT)
        os.kill(two.process.pid, signal.SIGINT)
        two.process.wait(30)
    with running_mesh(data) as one:
        assert len(one.endpoints["workers"]) == 1
        billed = {attempt: cost for attempt, cost in one.billed().items() if cost}
        assert len(billed) == 2
        eventually(lambda: settled(one) == billed, what="what the dead worker owed")
        one.quiet()
        found = eventually(lambda: [r for r in one.records() if r.router_id == "router-1"])
        assert {r.status for r in found} == {telemetry_pb2.RECORD_STATUS_INTERRUPTED}
