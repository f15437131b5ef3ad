"""Kills of Routers and of Telemetry under load, and the records that must be there all the same."""

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Self

from mesh import Mesh, eventually

from harmost.client import Finished, HarmostError
from harmost.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

__all__ = ["Figures", "run_kills"]

CALLERS = 6
CALL = "record {number} {count} [[sandbox token_ms=4 output_tokens={tokens} latency_sigma=0]]"


@dataclass
class Figures:
    """What is proven: exchanges that a provider heard of, against records."""

    kills: int = 0
    exchanges: int = 0
    lost: int = 0
    doubled: int = 0
    unlike: int = 0
    interrupted: int = 0


class _Callers:
    """Threads that call until told to stop; the records that they were told of."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._stop = threading.Event()
        self.told: set[str] = set()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, number: int) -> None:
        chance, count = random.Random(number), 0
        while not self._stop.is_set():
            with self._mesh.client() as client:  # a new connection: to whichever worker
                count += 1
                text = CALL.format(number=number, count=count, tokens=chance.randrange(1, 60))
                try:
                    for event in client.stream("hello", text, output_tokens_max=60, timeout_s=20):
                        if isinstance(event, Finished):
                            self.told.add(event.record_id)
                except HarmostError:
                    time.sleep(0.05)


def run_kills(mesh: Mesh, kills: int, *, seed: int) -> Figures:
    """Kill a Router or Telemetry `kills` times under load; then hold records against the provider."""
    figures, chance = Figures(), random.Random(seed)
    with _Callers(mesh) as callers:
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 1.2))
            service, worker = chance.choice((("router", 0), ("router", 1), ("telemetry", 0)))
            mesh.kill(service, worker)
            figures.kills += 1
            if service == "router":
                eventually(lambda w=worker: mesh.stats(w), timeout_s=60, what="the worker")
    mesh.quiet(timeout_s=90)
    heard = _heard(mesh)
    figures.exchanges = len({_record_of(attempt_id) for attempt_id in heard})

    def all_there() -> bool:
        _compare(_records(mesh), heard, callers.told, figures)
        return not figures.lost

    eventually(all_there, timeout_s=60, what=f"every record: {figures}")
    return figures


def _compare(
    records: list[telemetry_pb2.Record], heard: set[str], told: set[str], figures: Figures
) -> None:
    ids = Counter(record.record_id for record in records)
    attempts = Counter(each.attempt_id for record in records for each in record.attempts)
    wanted = {_record_of(attempt_id) for attempt_id in heard} | told
    figures.lost = len(wanted - ids.keys()) + len(heard - attempts.keys())
    figures.doubled = sum(ids.values()) - len(ids) + sum(attempts.values()) - len(attempts)
    figures.unlike = sum(
        _record_of(each.attempt_id) != record.record_id
        for record in records
        for each in record.attempts
    )
    figures.interrupted = sum(
        record.status == telemetry_pb2.RECORD_STATUS_INTERRUPTED for record in records
    )


def _record_of(attempt_id: str) -> str:
    return attempt_id.rpartition("-")[0]


def _heard(mesh: Mesh) -> set[str]:
    """Every attempt that the provider heard of, by its own books."""
    log = mesh.data / "sandbox" / "sandbox-billing.jsonl"
    return {json.loads(line)["attempt_id"] for line in log.read_text().splitlines()}


def _records(mesh: Mesh) -> list[telemetry_pb2.Record]:
    """Every record that is shipped by now."""
    stub = telemetry_pb2_grpc.TelemetryServiceStub(mesh.channel("telemetry"))
    found: list[telemetry_pb2.Record] = []
    request = telemetry_pb2.ListRecordsRequest(page_size=1000)
    while True:
        answer = stub.ListRecords(request, metadata=mesh.metadata)
        found += answer.records
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token
