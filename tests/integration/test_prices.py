"""The price of an attempt is that of its admission, whatever is applied while it runs."""

import pytest
from mesh import Mesh, eventually

from harmost.budget.v1 import budget_pb2
from harmost.client import BudgetExhausted, Delta, Finished

MODEL = """\
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: pinned, tenant: acme}}
spec: {{provider: sandbox, vendor_model_id: sandbox-small, price: {price}}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: pinned, tenant: acme}}
spec: {{models: [pinned], output_tokens_max: 200}}
"""
BEFORE, AFTER = '{input: "1", output: "2"}', '{input: "10", output: "20"}'


def apply(mesh: Mesh, price: str) -> None:
    mesh.apply(MODEL.format(price=price), name="pinned.yaml")


def price_in_force(mesh: Mesh) -> str:
    with mesh.client() as client:
        found = {model.name: model for model in client.models()}
    return str(found["pinned"].output_usd_picos_per_token) if "pinned" in found else ""


def cost_nanos(finished: Finished, *, input_picos: int, output_picos: int) -> int:
    usage = finished.usage
    return -(-(usage.input_tokens * input_picos + usage.output_tokens * output_picos) // 1_000)


def test_a_new_price_does_not_touch_an_attempt_that_runs(mesh: Mesh) -> None:
    apply(mesh, BEFORE)
    eventually(lambda: price_in_force(mesh) == "2000000", what="the first price")
    with mesh.client() as client:
        events = client.stream("pinned", "hi [[sandbox token_ms=60 output_tokens=60]]")
        for event in events:
            if isinstance(event, Delta):
                break
        apply(mesh, AFTER)
        eventually(lambda: price_in_force(mesh) == "20000000", what="the second price")
        (first,) = (event for event in events if isinstance(event, Finished))
        second = client.chat("pinned", "hi [[sandbox output_tokens=60]]").finished
    assert first.cost_usd_nanos == cost_nanos(first, input_picos=10**6, output_picos=2 * 10**6)
    assert second.cost_usd_nanos == cost_nanos(second, input_picos=10**7, output_picos=2 * 10**7)
    versions = []
    for finished in (first, second):
        (attempt,) = mesh.record(finished.record_id).attempts
        mesh.quiet()
        settled = [
            entry
            for entry in mesh.entries(attempt.attempt_id)
            if entry.kind == budget_pb2.ENTRY_KIND_SETTLE
        ]
        assert [entry.price_version for entry in settled] == [attempt.price_version]
        assert [entry.amount.usd_nanos for entry in settled] == [finished.cost_usd_nanos]
        versions.append(attempt.price_version)
    assert versions[0].startswith("document#")
    assert versions[0] != versions[1]


def test_a_model_without_a_price_is_denied_under_a_hard_budget(mesh: Mesh) -> None:
    apply(mesh, "unknown")
    eventually(lambda: price_in_force(mesh) == "None", what="no price")
    with (
        mesh.client() as client,
        pytest.raises(BudgetExhausted, match="the price of model `pinned` is not known"),
    ):
        client.chat("pinned", "hi", tenant="acme/retail/support")
