"""Budgets that are nearly used up, through a running mesh: warn, cheaper models first, a slower pace."""

from datetime import UTC, datetime

import pytest
from mesh import Mesh, eventually

from harmost.client import Finished, RateLimited
from harmost.telemetry.v1 import telemetry_pb2

TENANT = "acme/soft"
MODELS = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/soft}
spec: {}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: soft, tenant: acme}
spec: {models: [sandbox-large, sandbox-small], output_tokens_max: 50}
---
"""
BUDGET = """\
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: soft-{name}, tenant: acme/soft}}
spec: {{limits: [{{window: {window}, {unit}, enforcement: soft, {thresholds}}}]}}
"""


def budget(
    mesh: Mesh, name: str, thresholds: str, *, unit: str = "requests: 3", window: str = "total"
) -> None:
    text = BUDGET.format(name=name, thresholds=thresholds, unit=unit, window=window)
    mesh.apply(MODELS + text, name=f"{name}.yaml")


@pytest.fixture(autouse=True)
def gone(mesh: Mesh) -> None:
    """Without the budgets of the test before."""
    for name, _ in mesh.budgets():
        if name.startswith("soft-"):
            mesh.harmost("delete", "budget", name)


def call(mesh: Mesh, **more: str) -> Finished:
    with mesh.client() as client:
        return client.chat("soft", "hi [[sandbox output_tokens=5]]", tenant=TENANT, **more).finished


def model(finished: Finished) -> str:
    return finished.model


def test_cheaper_models_come_first_from_the_threshold_on(mesh: Mesh) -> None:
    budget(mesh, "cheaper", "cheaper_at_percent: 60, warn_at_percent: 100")
    assert model(call(mesh)) == "sandbox-large"
    # Two of three are more than 60 %.
    finished = eventually(
        lambda: next((f for f in [call(mesh)] if model(f) == "sandbox-small"), None),
        what="a cheaper model",
    )
    assert any("cheaper_at_percent" in warning for warning in finished.warnings)
    record = mesh.record(finished.record_id)
    assert list(record.decision.candidates) == ["sandbox-small", "sandbox-large"]
    assert any(hit.policy == "budget soft-cheaper" for hit in record.decision.rules)


def test_a_limit_that_throttles_says_when_to_come_again(mesh: Mesh) -> None:
    budget(mesh, "pace", "throttle_at_percent: 50", unit="requests: 4", window="day")
    denied: list[RateLimited] = []

    def throttled() -> bool:
        try:
            call(mesh)
        except RateLimited as error:
            denied.append(error)
        return bool(denied)

    eventually(throttled, what="a slower pace")
    error = denied[0]
    assert "budget `soft-pace` of `tenant:acme/soft` is used ahead of its time" in str(error)
    left_s = (86_400 - datetime.now(UTC).timestamp() % 86_400) + 60
    assert 0 < error.retry_after_s <= left_s


def test_a_soft_limit_that_is_used_up_admits_and_warns(mesh: Mesh) -> None:
    budget(mesh, "warn", "warn_at_percent: 50", unit="requests: 2")
    finished = eventually(
        lambda: next((f for f in [call(mesh)] if f.warnings), None), what="a warning"
    )
    assert any("budget `soft-warn` is used to" in warning for warning in finished.warnings)
    for _ in range(3):
        assert call(mesh).record_id


def test_a_throttled_mission_is_recorded_as_denied_by_its_budget(mesh: Mesh) -> None:
    budget(mesh, "denied", "throttle_at_percent: 10", unit="requests: 2", window="day")
    with pytest.raises(RateLimited) as caught:
        for _ in range(50):
            call(mesh)
    record = mesh.record(caught.value.metadata["record_id"])
    assert record.status == telemetry_pb2.RECORD_STATUS_BUDGET_DENIED
    assert record.reason == "RATE_LIMITED"
