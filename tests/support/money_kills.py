"""Kills and pauses of Routers and of Budget under load, and the sums that must hold all the same.

A mesh of real processes, a budget that is nearly used up all the time, callers that never stop. What
the sandbox's own books say is set against the ledger, attempt for attempt.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from mesh import Mesh, eventually

from harmost.budget.v1 import budget_pb2
from harmost.client import Finished, HarmostError

__all__ = ["Figures", "run_kills"]

CALLERS = 6
NAME = "money-proof"
ROOM_USD_NANOS = 400_000  # more for each round: a few dozen calls
CALL = "money {number} {count} [[sandbox token_ms=4 output_tokens={tokens} latency_sigma=0]]"


@dataclass
class Figures:
    """What is proven, and how long it took to be whole again, kill by kill."""

    kills: int = 0
    attempts: int = 0
    overspend_nano: int = 0
    lost: int = 0
    doubled: int = 0
    unlike: int = 0
    denied: int = 0
    recovery_s: list[float] = field(default_factory=list)
    suspense_s: list[float] = field(default_factory=list)


class _Callers:
    """Threads that call until told to stop; what they were told to have cost."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._stop = threading.Event()
        self.told: dict[str, int] = {}
        self.denied = 0
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
                text = CALL.format(number=number, count=count, tokens=chance.randrange(1, 40))
                try:
                    for event in client.stream("hello", text, output_tokens_max=40, timeout_s=20):
                        if isinstance(event, Finished):
                            self.told |= {a.attempt_id: a.cost_usd_nanos for a in event.attempts}
                except HarmostError as error:
                    self.denied += error.reason == "BUDGET_EXHAUSTED"
                    time.sleep(0.05)


def run_kills(mesh: Mesh, kills: int, *, seed: int) -> Figures:
    """Kill or pause `kills` times; then hold the books against each other."""
    figures, chance = Figures(), random.Random(seed)
    limit = _allow(mesh, ROOM_USD_NANOS)
    with _Callers(mesh) as callers:
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 1.5))
            _hurt(mesh, chance, figures)
            figures.kills += 1
            figures.overspend_nano = max(figures.overspend_nano, _billed(mesh) - limit)
            limit = _allow(mesh, _billed(mesh) + ROOM_USD_NANOS)
    mesh.quiet(timeout_s=60)
    _compare(mesh, callers, figures)
    figures.overspend_nano = max(figures.overspend_nano, _billed(mesh) - limit)
    figures.denied = callers.denied
    return figures


def _hurt(mesh: Mesh, chance: random.Random, figures: Figures) -> None:
    service, worker = chance.choice((("router", 0), ("router", 1), ("budget", 0)))
    pid = mesh.pid(service, worker)
    if chance.random() < 0.3:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.2, 2.5))
        os.kill(pid, signal.SIGCONT)
        return
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    eventually(lambda: mesh.pid(service, worker) != pid, what=f"a new {service}")
    started = time.monotonic()
    if service == "budget":
        eventually(mesh.budgets, what="balances")
    else:
        eventually(lambda: mesh.stats(worker), timeout_s=40, what="the worker")
        eventually(lambda: not _suspense(mesh), timeout_s=60, what="no suspense")
        figures.suspense_s.append(time.monotonic() - began)
    figures.recovery_s.append(time.monotonic() - started)


def _suspense(mesh: Mesh) -> int:
    return sum(each.suspense for each in mesh.budgets().values())


def _billed(mesh: Mesh) -> int:
    return sum(mesh.billed().values())


def _allow(mesh: Mesh, usd_nanos: int) -> int:
    dollars, nanos = divmod(usd_nanos, 10**9)
    mesh.apply(
        "apiVersion: harmost.dev/v1\nkind: Budget\n"
        f"metadata: {{name: {NAME}, tenant: acme}}\n"
        f'spec: {{limits: [{{window: total, usd: "{dollars}.{nanos:09d}"}}]}}\n',
        name="money.yaml",
    )
    return usd_nanos


def _compare(mesh: Mesh, callers: _Callers, figures: Figures) -> None:
    rows = [each for each in mesh.entries() if each.kind == budget_pb2.ENTRY_KIND_SETTLE]
    settled = {each.attempt_id: each.amount.usd_nanos for each in rows if each.amount.usd_nanos}
    billed = {attempt: cost for attempt, cost in mesh.billed().items() if cost}
    figures.attempts = len(billed)
    figures.doubled = len(rows) - len({each.attempt_id for each in rows})
    figures.lost = len(billed.keys() - settled.keys())
    figures.unlike = sum(settled.get(key) != cost for key, cost in billed.items())
    figures.unlike += len(settled.keys() - billed.keys())
    figures.unlike += sum(settled.get(key, 0) != cost for key, cost in callers.told.items())
