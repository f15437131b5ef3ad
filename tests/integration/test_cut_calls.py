"""Whatever way a call ends, nothing of it waits for the garbage collector, which stops every stream.

The Router runs in this process, on the loop that it has in production; the collector is off while
calls are cut, and what is there afterwards is counted. A call that is live is some hundred objects.
"""

import gc
import os
import signal
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from bare_client import BareClient
from effort import effort
from mesh import Mesh, eventually
from router_inside import RouterInside, router_inside

from harmost.common.v1 import attempt_pb2
from harmost.core.errors import Killed
from harmost.router.v1 import router_pb2
from harmost.telemetry.v1 import telemetry_pb2

CALLS = effort(60, ci=200, nightly=1_000)
STREAM_BYTES_MAX = 22_000
STREAM = "/harmost.router.v1.RouterService/StreamChat"
UNARY = "/harmost.router.v1.RouterService/Chat"
SILENT = "[[sandbox ttft_ms=60000 latency_sigma=0]]"
SLOW = "[[sandbox token_ms=10 output_tokens=2000]]"
DOCUMENTS = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/first}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/second}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/third}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: third, tenant: acme/third}}
spec: {{limits: [{{window: day, tokens: 1000000000}}]}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/fourth}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: fourth, tenant: acme/fourth}}
spec: {{limits: [{{window: day, tokens: 1000000000}}]}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/fifth}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: fifth, tenant: acme/fifth}}
spec: {{limits: [{{window: day, tokens: 1000000000}}]}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: first, tenant: acme/first}}
spec: {{limits: [{{window: day, tokens: 1000000000}}]}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: second, tenant: acme/second}}
spec: {{limits: [{{window: day, tokens: 1000000000}}]}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/poor}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: poor, tenant: acme/poor}}
spec: {{limits: [{{window: day, tokens: 1}}]}}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: narrow, tenant: acme}}
spec: {{codec: openai, base_url: "http://{sandbox}/openai/v1", connections_max: 1, connect_timeout_ms: 60000}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: narrow, tenant: acme}}
spec: {{provider: narrow, vendor_model_id: sandbox-small, price: {{input: "0.15", output: "0.60"}}}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: narrow, tenant: acme}}
spec: {{models: [narrow]}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: growing, tenant: acme}}
spec: {{models: [sandbox-small], output_tokens_max: 4000, cost: {{hold: progressive}}}}
"""


class Stage(NamedTuple):
    """What a round has at hand. `number` tells rounds apart, from 0."""

    mesh: Mesh
    router: RouterInside
    client: BareClient
    number: int


Cut = Callable[[Stage], Awaitable[None]]
End = Callable[[BareClient], Awaitable[None]]


def requests(text: str, profile: str = "hello", tenant: str = "") -> list[bytes]:
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[{"text": text}])
    request = router_pb2.StreamChatRequest(profile=profile, messages=[message], tenant=tenant)
    return [request.SerializeToString()] * CALLS


async def before_the_first_token(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SILENT))
    await stage.router.until(calls_live=CALLS, attempts_held=CALLS)


async def in_the_middle_of_the_answer(stage: Stage, prompt: str = "") -> None:
    before = (await stage.router.stats()).deltas
    await stage.client.call(STREAM, requests(SLOW + prompt))
    await stage.router.until(calls_live=CALLS, deltas=before + 3 * CALLS)


async def in_the_middle_of_a_growing_hold(stage: Stage) -> None:
    before = (await stage.router.stats()).deltas
    await stage.client.call(STREAM, requests(SLOW, "growing"))
    await stage.router.until(calls_live=CALLS, deltas=before + 3 * CALLS)


async def in_a_unary_call(stage: Stage) -> None:
    await stage.client.call(UNARY, requests(SLOW))
    await stage.router.until(calls_live=CALLS, attempts_held=CALLS)


async def with_a_prompt_of_many_frames(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SILENT + "x" * 40_000)[: CALLS // 4])
    await stage.router.until(calls_live=CALLS // 4)


async def while_the_hold_waits(stage: Stage) -> None:
    tenant = ("acme/first", "acme/second", "acme/third")[stage.number]
    budget = stage.mesh.pid("budget")
    os.kill(budget, signal.SIGSTOP)
    try:
        await stage.client.call(STREAM, requests("hi", tenant=tenant))
        await stage.router.until(calls_live=CALLS, attempts_held=0)
        stage.client.hang_up()
        await stage.router.until(calls_live=0)
    finally:
        os.kill(budget, signal.SIGCONT)


async def by_a_ledger_that_is_silent(stage: Stage) -> None:
    tenant = ("acme/fourth", "acme/fifth")[stage.number]
    before = (await stage.router.stats()).calls_failed
    budget = stage.mesh.pid("budget")
    os.kill(budget, signal.SIGSTOP)
    try:
        await stage.client.call(STREAM, requests("hi", tenant=tenant))
        await stage.router.until(calls_failed=before + CALLS, calls_live=0)
    finally:
        os.kill(budget, signal.SIGCONT)


async def while_queued_for_a_connection(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SILENT, "narrow"))
    await stage.router.until(calls_live=CALLS, attempts_held=CALLS)


async def in_the_turn_in_which_they_begin(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SILENT))


async def by_their_deadline(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SLOW), timeout="300m")
    await stage.router.until(calls_live=CALLS)
    await stage.router.until(calls_live=0)


async def by_a_kill_switch(stage: Stage) -> None:
    await stage.client.call(STREAM, requests(SLOW))
    await stage.router.until(calls_live=CALLS, attempts_held=CALLS)
    for running in tuple(stage.router.servicer._missions._running.values()):
        running.mission.kill(Killed("stopped by a test"))
    del running
    await stage.router.until(calls_live=0)


async def by_a_budget_that_has_nothing(stage: Stage) -> None:
    before = (await stage.router.stats()).calls
    await stage.client.call(STREAM, requests("hi", tenant="acme/poor"))
    await stage.router.until(calls=before + CALLS)


async def by_a_provider_that_fails(stage: Stage) -> None:
    before = (await stage.router.stats()).calls
    await stage.client.call(STREAM, requests("[[sandbox break_after=3]]"))
    await stage.router.until(calls=before + CALLS)


async def as_whole_answers(stage: Stage) -> None:
    before = (await stage.router.stats()).calls
    await stage.client.call(STREAM, requests("hi [[sandbox output_tokens=3]]"))
    await stage.router.until(calls=before + CALLS)


async def at_the_gate(stage: Stage) -> None:
    stage.client._key = "no such key"
    await stage.client.call(STREAM, requests("hi"))


async def hung_up(client: BareClient) -> None:
    client.hang_up()


async def reset(client: BareClient) -> None:
    await client.reset()


ENDS = (hung_up, reset)
# What a call is made of. Connections to a provider are kept, and what belongs to them.
OF_A_CALL = ("Attempt", "Call", "Mission", "Stream", "Task", "Future", "coroutine", "frame")


@pytest.fixture(scope="module")
def router(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterInside]:
    mesh.apply(DOCUMENTS.format(sandbox=mesh.endpoints["sandbox"]), name="cut.yaml")
    with router_inside(mesh, tmp_path_factory.mktemp("inside")) as running:
        yield running


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def made(cut: Cut, end: End, stage: Stage) -> None:
    await cut(stage)
    await end(stage.client)
    await stage.router.quiet()
    stage.client.hang_up()


def check_nothing_is_left(cut: Cut, end: End, mesh: Mesh, router: RouterInside) -> None:
    """Of a second round of calls; the first warms up what is kept for long."""
    with collector_off():
        for number in range(2):
            gc.collect()
            before = kinds()
            stage = Stage(mesh, router, BareClient(router.address, mesh.admin_key), number)
            router.run(made(cut, end, stage))
            del stage
        left = kinds() - before
        assert gc.collect() < CALLS / 2, left.most_common(20)
    assert sum(left[kind] for kind in OF_A_CALL) < CALLS / 2, left.most_common(20)


def kinds() -> Counter[str]:
    return Counter(type(each).__qualname__ for each in gc.get_objects())


@pytest.mark.parametrize("end", ENDS[: effort(1, ci=2, nightly=2)])
@pytest.mark.parametrize(
    "cut",
    [
        before_the_first_token,
        in_the_middle_of_the_answer,
        in_the_middle_of_a_growing_hold,
        in_a_unary_call,
        with_a_prompt_of_many_frames,
        while_queued_for_a_connection,
        in_the_turn_in_which_they_begin,
    ],
)
def test_calls_that_are_cut_leave_nothing_to_collect(
    mesh: Mesh, router: RouterInside, cut: Cut, end: End
) -> None:
    check_nothing_is_left(cut, end, mesh, router)


@pytest.mark.parametrize(
    "ended",
    [
        while_the_hold_waits,
        by_their_deadline,
        by_a_kill_switch,
        by_a_budget_that_has_nothing,
        by_a_ledger_that_is_silent,
        by_a_provider_that_fails,
        as_whole_answers,
        at_the_gate,
    ],
)
def test_calls_that_end_leave_nothing_to_collect(
    mesh: Mesh, router: RouterInside, ended: Cut
) -> None:
    check_nothing_is_left(ended, hung_up, mesh, router)


def test_a_call_that_is_cut_while_its_hold_waits_has_its_record(
    mesh: Mesh, router: RouterInside
) -> None:
    stage = Stage(mesh, router, BareClient(router.address, mesh.admin_key), 2)
    router.run(made(while_the_hold_waits, hung_up, stage))
    (record,) = eventually(lambda: [r for r in mesh.records() if r.tenant == "acme/third"][:1])
    assert record.status == telemetry_pb2.RECORD_STATUS_CANCELLED
    (attempt,) = record.attempts
    assert attempt.outcome == attempt_pb2.ATTEMPT_OUTCOME_NOT_ADMITTED
    assert attempt.cost_usd_nanos == 0


def test_a_stream_that_runs_keeps_no_request_and_few_bytes(
    mesh: Mesh, router: RouterInside
) -> None:
    """Thousands run for hours: docs/load.md states what each may hold."""
    prompt = "x" * 10_000
    tracemalloc.start()
    try:
        before, kept = kinds(), tracemalloc.get_traced_memory()[0]
        stage = Stage(mesh, router, BareClient(router.address, mesh.admin_key), 0)
        router.run(in_the_middle_of_the_answer(stage, prompt))
        eventually(lambda: not (kinds() - before)["Request"])  # all are being answered
        bytes_each = (tracemalloc.get_traced_memory()[0] - kept) / CALLS
        now = kinds() - before
        assert now["Mission"] == CALLS
        assert now["StreamChatRequest"] == 0
        # The prompt is there once, as the attempt may have to send it to another model.
        assert bytes_each < len(prompt) + STREAM_BYTES_MAX
        router.run(made(nothing, hung_up, stage))
    finally:
        tracemalloc.stop()


async def nothing(stage: Stage) -> None:
    """It is begun already."""
