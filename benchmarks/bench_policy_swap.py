"""By how much do decisions come later while the policy snapshot is swapped?

Another process asks for 1,000 decisions a second, over a socket as calls come; the loop decides each
by the current snapshot. Blocks with a swap each second (2,000 rules, 100 documents: verified, parsed,
loaded, exchanged, as a Router does it) stand between blocks without. The delay is from when a call
was sent to when it was decided: what else runs on the machine is in both.

Back of the envelope: the exchange is one pointer. What could be felt is the thread that loads, which
shares the interpreter: whoever waits for it waits one switch interval, 5 ms unless set shorter.
"""

import asyncio
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator

import uvloop
from _result import emit

from harmost.core.policy.facts import FactScope, FactValue, checked_facts
from harmost.core.policy.revocations import Revocations
from harmost.core.resources.dump import content_digest
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.signing import Signer, Verifier, new_signing_key
from harmost.core.resources.snapshot import compile_snapshot
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import revocations_to_proto, sign_snapshot
from harmost.services.snapshots.gently import settle
from harmost.services.snapshots.holder import SnapshotHolder

RULES = 2_000
TENANTS = 100
MODELS = ("m0", "m1", "m2")
NOW_S = 1_800_000_000
CALLS_PER_S = 1_000
BLOCK_S = 4.0
SWAP_EVERY_S = 1.0
ROUNDS = int(os.environ.get("HARMOST_BENCH_ROUNDS", "5"))
SIGNER = Signer(new_signing_key())
_SENT = struct.Struct("<q")


def documents() -> Iterator[tuple[str, str, bytes]]:
    head = "apiVersion: harmost.dev/v1\nkind: {}\nmetadata: {{name: {}{}}}\n"
    vendor = 'spec: {codec: openai, base_url: "https://api.example.com/v1", region: US}\n'
    yield "Provider", "v", (head.format("Provider", "v", "") + vendor).encode()
    for name in MODELS:
        model = "spec: {provider: v, vendor_model_id: x, price: unknown}\n"
        yield "Model", name, (head.format("Model", name, "") + model).encode()
    for number in range(TENANTS):
        tenant = f"t{number}"
        yield "Tenant", tenant, head.format("Tenant", tenant, "").encode()
        rules = "".join(
            f"    - {{name: r{n}, when: 'input.tokens > {n * 1000} && purpose == \"p{n % 7}\"', "
            f"deny: too large}}\n"
            for n in range(RULES // TENANTS)
        )
        policy = head.format("Policy", f"p{number}", f", tenant: {tenant}")
        yield "Policy", f"p{number}", f"{policy}spec:\n  rules:\n{rules}".encode()


COMPILED = compile_snapshot(
    1, parse_sources([Source(f"{kind}/{name}", yaml) for kind, name, yaml in documents()])
).compiled_policy()


def snapshot(generation: int) -> policy_pb2.Snapshot:
    resources = [policy_pb2.Resource(kind=k, name=n, yaml=y) for k, n, y in documents()]
    made = policy_pb2.Snapshot(
        generation=generation,
        digest=content_digest(each.yaml for each in resources),
        resources=resources,
        compiled_policy=COMPILED,
    )
    sign_snapshot(made, SIGNER)
    return made


def ask(connection: socket.socket) -> None:
    """The other process: a call a millisecond, each says when it was sent."""
    due_ns = time.monotonic_ns()
    while True:
        due_ns += 1_000_000_000 // CALLS_PER_S
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        elif wait_ns < -100_000_000:
            due_ns = time.monotonic_ns()  # the machine stood still: do not send all at once
        try:
            connection.send(_SENT.pack(time.monotonic_ns()))
        except OSError:
            return


class Calls:
    """Decides as calls come."""

    def __init__(self, holder: SnapshotHolder) -> None:
        self._holder = holder
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self.delays_ns: list[int] = []
        self.generations: set[int] = set()
        self._count = 0
        self._process = multiprocessing.get_context("fork").Process(target=ask, args=(theirs,))
        self._facts: list[dict[str, FactValue]] = [
            checked_facts(
                {"request.tenant": f"t{n}", "input.tokens": 5_000, "purpose": "p3"},
                scope=FactScope.REQUEST,
            )
            for n in range(TENANTS)
        ]

    def begin(self) -> None:
        self._process.start()
        asyncio.get_running_loop().add_reader(self._ours, self._decide)

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        self._process.kill()
        self._process.join()

    def _decide(self) -> None:
        for _ in range(64):
            try:
                sent = self._ours.recv(64)
            except BlockingIOError:
                return
            self._count += 1
            facts = self._facts[self._count % TENANTS]
            running = self._holder.current()
            candidates = running.candidates.at(MODELS, NOW_S)
            decision = running.engine.decide(facts, candidates, now_s=NOW_S)
            self.generations.add(decision.snapshot_generation)
            self.delays_ns.append(time.monotonic_ns() - _SENT.unpack(sent)[0])


async def block(calls: Calls, swap: Callable[[], asyncio.Future[None]] | None) -> list[int]:
    """The delays of one block."""
    calls.delays_ns = []
    ends_s = time.monotonic() + BLOCK_S
    while time.monotonic() < ends_s:
        begun_s = time.monotonic()
        if swap is not None:
            await swap()
        await asyncio.sleep(max(0.0, SWAP_EVERY_S - (time.monotonic() - begun_s)))
    return calls.delays_ns


def p99_ms(delays_ns: list[int]) -> float:
    return statistics.quantiles(delays_ns, n=100)[98] / 1e6


async def main() -> None:
    holder = SnapshotHolder(lambda: Verifier([SIGNER.public_pem]), None)
    await holder.revoke(revocations_to_proto(Revocations(), SIGNER))
    await holder.take(snapshot(1))
    ready = [snapshot(2 + n) for n in range(ROUNDS * int(BLOCK_S / SWAP_EVERY_S + 1))]
    swaps_s: list[float] = []

    async def swap() -> None:
        begun_s = time.monotonic()
        await holder.take(ready.pop(0))
        swaps_s.append(time.monotonic() - begun_s)

    calls = Calls(holder)
    settle()  # as a service does before it serves
    calls.begin()
    await asyncio.sleep(1.0)
    quiet: list[list[int]] = []
    swapped: list[list[int]] = []
    for _ in range(ROUNDS):
        quiet.append(await block(calls, None))
        swapped.append(await block(calls, lambda: asyncio.ensure_future(swap())))
    calls.end()
    shifts = [p99_ms(b) - p99_ms(a) for a, b in zip(quiet, swapped, strict=True)]
    count = sum(map(len, swapped))
    emit(
        "policy.swap.p99_ms.without",
        statistics.median(map(p99_ms, quiet)),
        "ms",
        sum(map(len, quiet)),
    )
    emit("policy.swap.p99_ms.with", statistics.median(map(p99_ms, swapped)), "ms", count)
    emit("policy.swap.p99_shift_ms", statistics.median(shifts), "ms", count)
    emit("policy.swap.delay_max_ms", max(map(max, swapped)) / 1e6, "ms", count)
    emit("policy.swap.took_s", statistics.median(swaps_s), "s", len(swaps_s))
    print(f"{len(calls.generations)} generations decided", file=sys.stderr)


uvloop.run(main())
