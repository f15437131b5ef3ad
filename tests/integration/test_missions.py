"""Missions of several steps and what they may cost, through a running mesh."""

import itertools
from collections.abc import Iterator

import pytest
from mesh import Mesh

from harmost.budget.v1 import budget_pb2
from harmost.client import BudgetExhausted, Client, Delta, Finished, HarmostError, Killed, Started
from harmost.policy.v1 import policy_pb2, policy_pb2_grpc

TENANT = "acme/missions"
# A call of 1,000 output tokens is held at some 0.0007 dollars, and costs less.
DOCUMENTS = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/missions}
spec: {}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: promised, tenant: acme}
spec: {steps: [{name: first, models: [sandbox-small], system: "[[sandbox token_ms=10 output_tokens=200]]"},
              {name: last, models: [sandbox-small], system: "[[sandbox token_ms=0.1 output_tokens=900]]"}],
       output_tokens_max: 1000, cost: {usd_max: "0.002", reserve: mission}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: counted, tenant: acme}
spec: {steps: [{name: first, models: [sandbox-small], system: "[[sandbox token_ms=10 output_tokens=200]]"},
              {name: last, models: [sandbox-small], system: "[[sandbox token_ms=0.1 output_tokens=900]]"}],
       output_tokens_max: 1000, cost: {usd_max: "0.002"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: other, tenant: acme}
spec: {models: [sandbox-small], system: "[[sandbox token_ms=0.1 output_tokens=900]]", output_tokens_max: 1000}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {name: %s, tenant: acme/missions}
spec: {limits: [{window: total, usd: "%s"}]}
"""


_numbers = itertools.count()


@pytest.fixture
def limit(mesh: Mesh) -> Iterator[str]:
    """The name of a budget of 0.004 dollars that the tenant has for one test."""
    name = f"missions-{next(_numbers)}"  # another each time: balances outlive their document
    mesh.apply(DOCUMENTS % (name, "0.004"), name="missions.yaml")
    yield name
    mesh.harmost("delete", "budget", name)


def spend_the_rest(client: Client) -> int:
    """Call until there is no more; how often that was possible."""
    for count in range(100):
        try:
            for _ in client.stream("other", "hi", tenant=TENANT, timeout_s=30):
                pass
        except BudgetExhausted:
            return count
    raise AssertionError("the limit is not felt")


def mission(mesh: Mesh, profile: str) -> Finished:
    """One of two steps; during the first others spend all that they get."""
    last, others = None, 0
    with mesh.client() as client:
        for event in client.stream(profile, "hi", tenant=TENANT, timeout_s=60):
            if isinstance(event, Delta) and not others:
                others = spend_the_rest(client)
            last = event
    assert others
    assert isinstance(last, Finished)
    return last


def balance(mesh: Mesh, name: str) -> budget_pb2.Budget:
    (found,) = (each for (budget, _), each in mesh.budgets().items() if budget == name)
    return found


def nothing_open(balance: budget_pb2.Budget) -> bool:
    return not (balance.held or balance.suspense or balance.debt)


def test_a_mission_that_reserves_ends_well_though_others_spend_all_else(
    mesh: Mesh, limit: str
) -> None:
    finished = mission(mesh, "promised")
    assert finished.finish_reason == "stop"
    assert len(finished.attempts) == 2
    mesh.quiet()
    assert nothing_open(balance(mesh, limit))


def test_one_that_does_not_is_cut_short_or_ends_half_way(mesh: Mesh, limit: str) -> None:
    try:
        finished = mission(mesh, "counted")
    except BudgetExhausted:
        return
    assert finished.finish_reason == "budget_exhausted"  # with what its first step did not use


def test_a_mission_that_cannot_be_held_whole_sends_nothing(mesh: Mesh, limit: str) -> None:
    mesh.apply(DOCUMENTS % (limit, "0.0019"), name="missions.yaml")
    before = len(mesh.billed())
    with (
        mesh.client() as client,
        pytest.raises(BudgetExhausted, match=r"has 0\.002 US dollars held before it begins"),
    ):
        for _ in client.stream("promised", "hi", tenant=TENANT):
            pass
    assert len(mesh.billed()) == before


def test_a_router_killed_in_a_mission_gives_back_what_it_did_not_use(
    mesh: Mesh, limit: str
) -> None:
    with mesh.client() as client, pytest.raises(HarmostError):
        for event in client.stream("promised", "hi", tenant=TENANT, timeout_s=30):
            if isinstance(event, Delta):
                mesh.kill("router")
    mesh.quiet()
    assert nothing_open(balance(mesh, limit))
    assert 0 < balance(mesh, limit).settled < 1_000_000  # of one attempt, not of the mission


def test_a_mission_that_is_stopped_gives_back_what_it_did_not_use(mesh: Mesh, limit: str) -> None:
    record_id, told = "", False
    with mesh.client() as client, pytest.raises(Killed):
        for event in client.stream("promised", "hi", tenant=TENANT, timeout_s=60):
            if isinstance(event, Started):
                record_id = event.record_id
            elif isinstance(event, Delta) and not told:
                mission = policy_pb2.REVOCATION_KIND_MISSION
                request = policy_pb2.RevokeRequest(kind=mission, name=record_id)
                stub = policy_pb2_grpc.PolicyServiceStub(mesh.channel("policy"))
                told = bool(stub.Revoke(request, metadata=mesh.metadata))
    mesh.quiet()
    assert nothing_open(balance(mesh, limit))
    assert 0 < balance(mesh, limit).settled < 1_000_000
