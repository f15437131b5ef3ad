"""The swap is one pointer: no decision is made of two generations, no retired one stays in memory."""

import asyncio
import gc
import sys
import threading

import pytest
from effort import effort
from signing import none_revoked, signed, verifier

from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, checked_facts
from harmost.core.resources.dump import content_digest
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import compile_snapshot
from harmost.policy.v1 import policy_pb2
from harmost.services.snapshots.gently import gently
from harmost.services.snapshots.holder import SnapshotHolder

HEAD = "apiVersion: harmost.dev/v1\nkind: %s\nmetadata: {name: %s}\n"
RULES = 60
FACTS = checked_facts({"request.tenant": "acme", "data.classes": ["pan"]}, scope=FactScope.REQUEST)
CANDIDATES = [Candidate("m", checked_facts({"model.name": "m"}, scope=FactScope.CANDIDATE))]


def snapshot(generation: int) -> policy_pb2.Snapshot:
    """Everything in it tells its generation: tenant, rules, caps."""
    rules = "".join(
        f"    - {{name: g{generation}-{n}, when: 'input.tokens >= {n % 3}', "
        f"cap_output_tokens: {1_000_000 * generation + n}}}\n"
        for n in range(RULES)
    )
    documents = [
        (HEAD % ("Tenant", "acme")).encode(),
        (HEAD % ("Tenant", f"g{generation}")).encode(),
        ((HEAD % ("Policy", "p")) + f"spec:\n  rules:\n{rules}").encode(),
    ]
    compiled = compile_snapshot(
        generation, parse_sources([Source(str(n), text) for n, text in enumerate(documents)])
    )
    made = policy_pb2.Snapshot(
        generation=generation,
        digest=content_digest(documents),
        compiled_policy=compiled.compiled_policy(),
        resources=[policy_pb2.Resource(kind="x", name="x", yaml=each) for each in documents],
    )
    return signed(made)


def decided(holder: SnapshotHolder) -> int:
    """The generation of one decision, which nothing in it contradicts."""
    running = holder.current()
    generation = running.generation
    decision = running.engine.decide(FACTS, CANDIDATES, now_s=1_800_000_000)
    assert decision.snapshot_generation == generation
    assert decision.output_tokens_max == 1_000_000 * generation
    assert f"g{generation}" in running.catalog.tenants
    assert len(decision.hits) == RULES // 3
    assert {hit.rule.partition("-")[0] for hit in decision.hits} == {f"g{generation}"}
    return generation


async def test_every_decision_belongs_wholly_to_one_generation() -> None:
    holder = SnapshotHolder(verifier, None)
    await holder.revoke(none_revoked())
    await holder.take(snapshot(1))
    swaps = effort(15, ci=150, nightly=1_500)
    seen: list[int] = []
    over = False

    async def decide() -> None:
        while not over:
            seen.append(decided(holder))
            await asyncio.sleep(0.0005)  # a loop that never waits starves the thread that loads

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(decide())
        for generation in range(2, swaps + 2):
            await holder.take(snapshot(generation))
            while seen[-1] != generation:  # a busy machine may load the next before anyone decides
                await asyncio.sleep(0.0005)
        over = True
    assert seen == sorted(seen)
    assert set(seen) >= set(range(1, swaps + 1))


async def test_a_retired_snapshot_is_freed_without_the_collector() -> None:
    """Else each swap would leave megabytes until a collection, which stops the loop."""
    holder = SnapshotHolder(verifier, None)
    await holder.revoke(none_revoked())
    for generation in range(1, 4):
        await holder.take(snapshot(generation))
        decided(holder)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for generation in range(4, 12):
            await holder.take(snapshot(generation))
            decided(holder)
        left = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert left / 8 < RULES  # a snapshot that stays has several objects a rule


def test_gentle_work_puts_everything_back() -> None:
    interval_s = sys.getswitchinterval()
    with pytest.raises(RuntimeError), gently():
        assert not gc.isenabled()
        assert sys.getswitchinterval() < 0.001
        raise RuntimeError
    assert gc.isenabled()
    assert sys.getswitchinterval() == pytest.approx(interval_s)


def test_gentle_work_of_two_threads_puts_everything_back() -> None:
    interval_s = sys.getswitchinterval()
    inside = threading.Event()

    def other() -> None:
        inside.set()
        with gently():
            pass

    thread = threading.Thread(target=other)
    with gently():
        thread.start()
        assert inside.wait(10)
    thread.join()
    assert gc.isenabled()
    assert sys.getswitchinterval() == pytest.approx(interval_s)


def test_gentle_work_leaves_a_collector_that_was_off() -> None:
    gc.disable()
    try:
        with gently():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
