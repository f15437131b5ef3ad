"""A kill switch ends what runs, over the real mesh: settled, recorded, and told to the caller."""

import json
import threading
import time
from functools import partial
from typing import Any, Self

import pytest
from mesh import Mesh, eventually

from harmost.client import Delta, HarmostError, Killed
from harmost.policy.v1 import policy_pb2
from harmost.router.v1 import router_pb2
from harmost.telemetry.v1 import telemetry_pb2

# Some 45 s if nothing ends it.
LONG = "go on [[sandbox token_ms=50 output_tokens=900 latency_sigma=0]]"
# A second is promised; a busy machine gets more before a test fails.
DEADLINE_S = 10.0


class Stream:
    """A call that streams in a thread of its own."""

    def __init__(self, mesh: Mesh, key: str = "", **fields: Any) -> None:
        self._client = mesh.client(key)
        self._fields = fields
        self.record_id = ""
        self.deltas = 0
        self.error: HarmostError | None = None
        self.ended_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.deltas >= 3, what="a stream that runs")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for event in self._client.stream("hello", LONG, timeout_s=60, **self._fields):
                self.record_id = getattr(event, "record_id", self.record_id)
                self.deltas += isinstance(event, Delta)
        except HarmostError as error:
            self.error = error
        except ValueError:  # the client was closed under it
            pass
        self.ended_s = time.monotonic()

    def end_s(self) -> float:
        """Wait until it ended; when."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the stream goes on"
        return self.ended_s


def revoke(mesh: Mesh, kind: str, name: str) -> float:
    """When it was answered."""
    number = policy_pb2.RevocationKind.Value(f"REVOCATION_KIND_{kind.upper()}")
    request = policy_pb2.RevokeRequest(kind=number, name=name, reason="a test")
    mesh.policy().Revoke(request, metadata=mesh.metadata)
    return time.monotonic()


def restore(mesh: Mesh, kind: str, name: str) -> None:
    mesh.harmost("policy", "restore", kind, name)


def key_of(mesh: Mesh, principal: str) -> tuple[str, str]:
    """A key of acme's `principal`, and its id."""
    key = mesh.key("acme", principal, "caller")
    return key, key.split("_")[1]


@pytest.mark.parametrize("kind", ["tenant", "profile", "agent", "mission", "key", "principal"])
def test_a_running_stream_ends_settled_and_recorded(mesh: Mesh, kind: str) -> None:
    principal = f"victim-{kind}"
    key, key_id = key_of(mesh, principal) if kind in ("key", "principal") else ("", "")
    with Stream(mesh, key, agent_id=f"bot-{kind}") as stream:
        names = {
            "tenant": "acme",
            "profile": "hello",
            "agent": f"bot-{kind}",
            "mission": stream.record_id,
            "key": key_id,
            "principal": principal,
        }
        answered_s = revoke(mesh, kind, names[kind])
        took_s = stream.end_s() - answered_s
    print(f"{kind}: ended {took_s * 1000:.0f} ms after the answer")
    assert took_s < DEADLINE_S
    assert isinstance(stream.error, Killed)
    assert stream.error.metadata["kind"] == kind
    assert "a test" in stream.error.message
    record = mesh.record(stream.record_id)
    assert record.status == telemetry_pb2.RECORD_STATUS_KILLED
    assert record.reason == "KILLED"
    attempt = record.attempts[0].attempt_id
    assert record.cost_usd_nanos > 0
    eventually(
        lambda: mesh.billed().get(attempt) == record.cost_usd_nanos, what="what the sandbox billed"
    )
    eventually(  # the Router tells the ledger with its next sync of leases
        lambda: [e.amount.usd_nanos for e in mesh.entries(attempt) if e.amount.usd_nanos],
        what="the settlement",
    )
    if kind != "mission":
        with mesh.client(key) as client, pytest.raises(Killed):
            client.chat("hello", "again", agent_id=f"bot-{kind}")
    restore(mesh, kind, names[kind])
    with mesh.client(key) as client:
        eventually(lambda: client.chat("hello", "once more", agent_id=f"bot-{kind}"), what="it")


def test_a_whole_answer_that_is_waited_for_ends_too(mesh: Mesh) -> None:
    """`Chat` has no stream that could be seen to run: the sandbox's books say that it does."""
    ended: list[HarmostError] = []

    def chat() -> None:
        with mesh.client() as client:
            try:
                client.chat("hello", LONG, agent_id="unary", timeout_s=60)
            except HarmostError as error:
                ended.append(error)

    thread = threading.Thread(target=chat, daemon=True)
    thread.start()
    eventually(lambda: stats(mesh).calls_live > 0, what="the call")
    time.sleep(0.2)
    revoke(mesh, "agent", "unary")
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert isinstance(ended[0], Killed)
    record = mesh.record(ended[0].metadata["record_id"])
    assert record.status == telemetry_pb2.RECORD_STATUS_KILLED
    restore(mesh, "agent", "unary")


def stats(mesh: Mesh) -> router_pb2.GetStatsResponse:
    return mesh.router().GetStats(router_pb2.GetStatsRequest(), metadata=mesh.metadata)


@pytest.mark.parametrize("mesh", ["grpcio"], indirect=True)
def test_it_ends_over_the_other_transport_too(mesh: Mesh) -> None:
    with Stream(mesh, agent_id="bot") as stream:
        answered_s = revoke(mesh, "agent", "bot")
        took_s = stream.end_s() - answered_s
    print(f"grpcio: ended {took_s * 1000:.0f} ms after the answer")
    assert isinstance(stream.error, Killed)
    assert mesh.record(stream.record_id).status == telemetry_pb2.RECORD_STATUS_KILLED


def test_what_is_not_meant_goes_on(mesh: Mesh) -> None:
    with Stream(mesh, agent_id="good") as good, Stream(mesh, agent_id="bad") as bad:
        revoke(mesh, "agent", "bad")
        bad.end_s()
        before = good.deltas
        eventually(lambda: good.deltas > before + 10, what="the other stream")
        assert good.error is None
        revoke(mesh, "mission", good.record_id)
        good.end_s()
    restore(mesh, "agent", "bad")


def test_who_kills_a_mission_that_does_not_run_is_told(mesh: Mesh) -> None:
    with Stream(mesh) as stream:
        eventually(lambda: stream.record_id, what="the record id")
        told = mesh.harmost("policy", "kill", "mission", stream.record_id)
        assert (told.stdout, "no Router runs" in told.stderr) == (
            f"mission {stream.record_id} is stopped everywhere\n",
            False,
        )
        stream.end_s()
    told = mesh.harmost("policy", "kill", "mission", "0123456789abcdef")
    assert "no Router runs a mission `0123456789abcdef` now, so nothing was ended" in told.stderr
    again = mesh.harmost("policy", "kill", "mission", "0123456789abcdef", "--json")
    assert json.loads(again.stdout)["runs"] is False
    mesh.harmost("policy", "restore", "mission", "0123456789abcdef")


def test_a_key_that_is_removed_ends_its_streams(mesh: Mesh) -> None:
    key, key_id = key_of(mesh, "leaver")
    with Stream(mesh, key) as leaver, Stream(mesh) as other:
        found = mesh.harmost("get", "tenant", "acme", "-o", "yaml").stdout
        lines = found.splitlines(keepends=True)
        kept = without_key(lines, key_id)
        mesh.apply(kept)
        leaver.end_s()
        assert isinstance(leaver.error, Killed)
        assert f"the key `{key_id}` of this call was removed" in leaver.error.message
        assert other.error is None
        revoke(mesh, "mission", other.record_id)
        other.end_s()
    with mesh.client(key) as client, pytest.raises(HarmostError) as caught:
        client.chat("hello", "again")
    assert caught.value.reason == "UNAUTHENTICATED"


def without_key(lines: list[str], key_id: str) -> str:
    """The document without the key of that id: two lines, `- id: …` and `hash: …`."""
    at = next(number for number, text in enumerate(lines) if key_id in text)
    rest = lines[:at] + lines[at + 2 :]
    owner = lines[at - 1]
    if owner.strip() == "keys:":
        rest[at - 1] = owner.replace("keys:", "keys: []")
    return "".join(rest)


def test_kills_survive_a_restart_of_policy_and_of_the_router(mesh: Mesh) -> None:
    revoke(mesh, "agent", "gone")
    refused = partial(is_killed, mesh, "gone")
    eventually(refused, what="the kill")
    mesh.kill("router")
    eventually(refused, what="the kill after the router's restart")
    mesh.kill("policy")
    eventually(lambda: "gone" in listed(mesh), what="the kill after policy's restart")
    assert refused()
    restore(mesh, "agent", "gone")
    eventually(lambda: not is_killed(mesh, "gone"), what="a call")


def listed(mesh: Mesh) -> set[str]:
    answer = mesh.harmost("policy", "kills", "--json", check=False)
    return set() if answer.returncode else {each["name"] for each in json.loads(answer.stdout)}


def is_killed(mesh: Mesh, agent: str) -> bool:
    with mesh.client() as client:
        try:
            client.chat("hello", "hi", agent_id=agent)
        except Killed:
            return True
    return False
