"""Clients that read nothing, vanish by the thousand or send garbage: nobody else is the worse for it."""

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml
from effort import transports
from mesh import Mesh, eventually, running_mesh

from harmost.budget.v1 import budget_pb2
from harmost.common.v1 import usage_pb2
from harmost.policy.v1 import policy_pb2
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.telemetry.v1 import telemetry_pb2

MIB = 1024 * 1024
WIDE = """
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: wide, tenant: acme}}
spec:
  codec: openai
  base_url: http://{sandbox}/openai/v1
  usage_path: /usage
  connections_max: 4096
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: wide, tenant: acme}}
spec:
  provider: wide
  vendor_model_id: sandbox-small
  output_tokens_max: 100000
  price: {{input: "0.15", output: "0.60"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: wide, tenant: acme}}
spec: {{models: [wide], output_tokens_max: 100000}}
"""
CROWD = Path(__file__).parents[1] / "support" / "crowd.py"


@pytest.fixture(scope="module", params=transports())
def mesh(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mesh]:
    data = tmp_path_factory.mktemp("clients") / "data"
    with running_mesh(data, "--transport", request.param) as running:
        running.transport = request.param
        running.apply(WIDE.format(sandbox=running.endpoints["sandbox"]))
        running.apply(_wide_tenant(running))
        yield running


def _wide_tenant(mesh: Mesh) -> str:
    """Tenant `acme` as it is, keys and all, with room for more calls."""
    request = policy_pb2.GetResourceRequest(
        resource=policy_pb2.ResourceRef(kind="Tenant", name="acme")
    )
    tenant = yaml.safe_load(
        mesh.policy().GetResource(request, metadata=mesh.metadata).resource.yaml
    )
    tenant["spec"]["in_flight_max"] = 4_000
    return yaml.safe_dump(tenant)


def ask(text: str, **fields: Any) -> router_pb2.StreamChatRequest:
    part = router_pb2.Part(text=text)
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[part])
    return router_pb2.StreamChatRequest(profile="wide", messages=[message], **fields)


def stats(mesh: Mesh) -> router_pb2.GetStatsResponse:
    return mesh.router().GetStats(router_pb2.GetStatsRequest(), metadata=mesh.metadata, timeout=10)


def rss(mesh: Mesh) -> int:
    return psutil.Process(mesh.pid("router")).memory_info().rss


def answered(mesh: Mesh, text: str) -> list[router_pb2.StreamChatResponse]:
    return list(mesh.router().StreamChat(ask(text), metadata=mesh.metadata, timeout=60))


def books_agree(mesh: Mesh, *, estimates_max: int = 0) -> None:
    """Every attempt is settled once, at what the provider bills.

    Where thousands end at once on a busy machine, a few of its books may not open in time: those
    attempts are settled by estimate, and say so.
    """
    mesh.quiet(timeout_s=60)
    rows = [entry for entry in mesh.entries() if entry.kind == budget_pb2.ENTRY_KIND_SETTLE]
    billed = {attempt: cost for attempt, cost in mesh.billed().items() if cost}
    assert {entry.attempt_id for entry in rows} == set(billed)
    assert len(billed) == len(rows)
    unlike = [entry for entry in rows if entry.amount.usd_nanos != billed[entry.attempt_id]]
    assert len(unlike) <= estimates_max
    assert {entry.usage.source for entry in unlike} <= {usage_pb2.USAGE_SOURCE_ESTIMATED}


@pytest.mark.timeout(180)
def test_a_slow_reader_stops_its_own_stream_and_no_other(mesh: Mesh) -> None:
    long = "[[sandbox output_tokens=60000 latency_sigma=0]]"
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    answered(mesh, "warm [[sandbox output_tokens=100]]")
    before_bytes = rss(mesh)
    with grpc.insecure_channel(mesh.endpoints["router"], options) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        unread = [stub.StreamChat(ask(f"{n} {long}"), metadata=mesh.metadata) for n in range(8)]
        for call in unread:
            assert next(call).HasField("started")
        stopped = eventually(lambda: _unchanged(mesh), timeout_s=60, what="a stop")
        assert stats(mesh).calls_live == 8
        assert stopped < 8 * 60_000  # they wait for their readers
        events = answered(mesh, "quick [[sandbox output_tokens=500]]")
        assert sum(event.HasField("delta") for event in events) == 500
        assert rss(mesh) - before_bytes < 48 * MIB
        rest = list(unread[0])  # whoever reads again gets the rest, whole and in order
        assert [event.sequence for event in rest] == list(range(1, len(rest) + 1))
        assert sum(event.HasField("delta") for event in rest) == 60_000
        assert rest[-1].HasField("finished")
        for call in unread:
            call.cancel()
    eventually(lambda: stats(mesh).calls_live == 0, what="the end of the others")
    books_agree(mesh)


def _unchanged(mesh: Mesh) -> int:
    """How much was relayed, once that stays as it is."""
    before = stats(mesh).deltas
    time.sleep(0.7)
    after = stats(mesh).deltas
    return after if before == after else 0


@pytest.mark.timeout(240)
def test_a_crowd_that_vanishes_at_once_is_settled_and_disturbs_nobody(mesh: Mesh) -> None:
    count = 2_000 if mesh.transport == "wire" else 200
    words = [sys.executable, str(CROWD), mesh.endpoints["router"], mesh.admin_key, str(count)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"all have a token\n"
        assert stats(mesh).calls_live == count
        steady = mesh.router().StreamChat(
            ask("steady [[sandbox token_ms=20 latency_sigma=0 output_tokens=300]]"),
            metadata=mesh.metadata,
            timeout=60,
        )
        deltas = 0
        for event in steady:
            deltas += event.HasField("delta")
            if deltas == 50:
                crowd.kill()
    assert deltas == 300
    eventually(lambda: stats(mesh).calls_live == 0, timeout_s=60, what="the crowd's end")
    books_agree(mesh, estimates_max=count // 100)
    cancelled = [r for r in mesh.records() if r.status == telemetry_pb2.RECORD_STATUS_CANCELLED]
    assert len(cancelled) >= min(count, 900)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("seed", range(3))
def test_garbage_from_clients_ends_their_connections_only(mesh: Mesh, seed: int) -> None:
    source = random.Random(seed)
    host, port = mesh.endpoints["router"].split(":")
    steady = mesh.router().StreamChat(
        ask("steady [[sandbox token_ms=10 latency_sigma=0 output_tokens=100]]"),
        metadata=mesh.metadata,
        timeout=60,
    )
    assert next(steady).HasField("started")
    for number in range(60):
        with socket.create_connection((host, int(port)), timeout=5) as client:
            garbage = source.randbytes(source.randrange(1, 2_000))
            client.sendall((PREFACE if number % 2 else b"") + garbage)
    assert sum(event.HasField("delta") for event in steady) == 100
    assert len(answered(mesh, "after [[sandbox output_tokens=5]]")) == 9


def test_a_request_that_never_ends_holds_nothing_up(mesh: Mesh) -> None:
    """Half a message, on many connections, and then nothing."""
    host, port = mesh.endpoints["router"].split(":")
    clients = [socket.create_connection((host, int(port)), timeout=5) for _ in range(200)]
    for client in clients:
        client.sendall(PREFACE + bytes(9) + b"\0\0\x04\x08")
    assert len(answered(mesh, "meanwhile [[sandbox output_tokens=5]]")) == 9
    for client in clients:
        client.close()
    said = json.loads(mesh.harmost("top", "--once", "--json", "--interval", "0.1").stdout)
    assert said["workers"][0]["calls_live"] == 0
