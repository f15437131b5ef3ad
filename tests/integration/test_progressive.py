"""Holds that grow with the answer, through a running mesh, held against the provider's own books."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mesh import Mesh, eventually

from harmost.client import BudgetExhausted, Client, Delta, Finished, HarmostError
from harmost.telemetry.v1 import telemetry_pb2

TENANT = "acme/growing"
PROFILES = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/growing}
spec: {}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: growing, tenant: acme}
spec: {models: [sandbox-small], output_tokens_max: 4000, cost: {hold: progressive}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: whole, tenant: acme}
spec: {models: [sandbox-small], output_tokens_max: 4000}
---
"""
BUDGET = """\
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: {name}, tenant: acme/growing}}
spec: {{limits: [{{window: total, {limit}}}]}}
"""
SLOW = "hi [[sandbox token_ms=4 output_tokens={tokens}]]"


@pytest.fixture
def tight(mesh: Mesh) -> Iterator[str]:
    """A budget of a tenant for one test."""
    yield "growing-limit"
    mesh.harmost("delete", "budget", "growing-limit")


def limit(mesh: Mesh, name: str, text: str) -> None:
    mesh.apply(PROFILES + BUDGET.format(name=name, limit=text), name="growing.yaml")


def streamed(client: Client, profile: str, tokens: int, both: Barrier | None = None) -> Finished:
    """The end of one answer; `both` are under way before either goes on."""
    last: object = None
    for event in client.stream(profile, SLOW.format(tokens=tokens), tenant=TENANT, timeout_s=60):
        if isinstance(event, Delta) and both is not None:
            both.wait(timeout=30)
            both = None
        last = event
    assert isinstance(last, Finished)
    return last


def two(mesh: Mesh, profile: str, tokens: int) -> list[Finished]:
    both = Barrier(2)
    with mesh.client() as client, ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(streamed, client, profile, tokens, both) for _ in range(2)]
        return [call.result() for call in calls]


def billed(mesh: Mesh, finished: list[Finished]) -> int:
    """What the provider's books say of these calls, in nanodollars; the record says the same."""
    attempts = [attempt for one in finished for attempt in one.attempts]
    books = eventually(
        lambda: [mesh.billed()[attempt.attempt_id] for attempt in attempts], what="the books"
    )
    assert [attempt.cost_usd_nanos for attempt in attempts] == books
    return sum(books)


def interrupted(mesh: Mesh) -> telemetry_pb2.Record | None:
    status = telemetry_pb2.RECORD_STATUS_INTERRUPTED
    return next((each for each in mesh.records() if each.status == status), None)


def test_two_answers_share_a_limit_that_has_room_for_one_whole_hold(mesh: Mesh, tight: str) -> None:
    limit(mesh, tight, "tokens: 4100")
    first, second = two(mesh, "growing", 150)
    assert (first.finish_reason, second.finish_reason) == ("stop", "stop")
    assert billed(mesh, [first, second]) > 0
    mesh.quiet()
    with mesh.client() as client:
        stream = client.stream("whole", SLOW.format(tokens=150), tenant=TENANT, timeout_s=60)
        next(event for event in stream if isinstance(event, Delta))
        with pytest.raises(BudgetExhausted, match="growing-limit"):
            streamed(client, "whole", 150)
        for _ in stream:
            pass


def test_answers_that_outgrow_their_limit_are_cut_below_it(mesh: Mesh, tight: str) -> None:
    limit_usd_nanos = 1_500_000
    limit(mesh, tight, 'usd: "0.0015"')
    ends = two(mesh, "growing", 3_000)
    assert "budget_exhausted" in {end.finish_reason for end in ends}
    assert 0 < billed(mesh, ends) <= limit_usd_nanos
    mesh.quiet()
    assert [one.debt for (name, _), one in mesh.budgets().items() if name == tight] == [0]


def test_a_router_killed_in_the_middle_settles_within_what_it_held(mesh: Mesh, tight: str) -> None:
    limit(mesh, tight, 'usd: "10"')
    with mesh.client() as client, pytest.raises(HarmostError):
        seen = 0
        for event in client.stream("growing", SLOW.format(tokens=3_000), tenant=TENANT):
            seen += isinstance(event, Delta)
            if seen == 400:  # some 1,600 bytes: several pieces
                mesh.kill("router")
    mesh.quiet()
    (attempt,) = eventually(lambda: interrupted(mesh), what="the record").attempts
    first_piece_usd_nanos = 640 * 600
    assert attempt.held_usd_nanos > 2 * first_piece_usd_nanos
    assert 0 < attempt.cost_usd_nanos <= attempt.held_usd_nanos
    assert mesh.billed()[attempt.attempt_id] == attempt.cost_usd_nanos
