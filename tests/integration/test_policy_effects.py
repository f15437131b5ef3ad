"""Price caps, exceptions and rollouts through the running mesh, from the document to the record."""

from datetime import UTC, datetime, timedelta

import pytest
from mesh import Mesh, eventually

from harmost.client import Claims, PolicyDenied, Started
from harmost.client.request import Options
from harmost.common.v1 import decision_pb2

POLICY = """\
apiVersion: harmost.dev/v1
kind: Policy
metadata: {{name: {name}, tenant: acme/retail}}
spec: {spec}
"""


def apply(mesh: Mesh, name: str, spec: str) -> None:
    """Put the policy in force at every Router."""
    generation = mesh.apply(POLICY.format(name=name, spec=spec)).generation

    def runs() -> bool:
        with mesh.client() as client:
            events = client.stream("hello", "hi [[sandbox output_tokens=1]]")
            started = [event for event in events if isinstance(event, Started)]
        return bool(started) and started[0].decision.snapshot_generation >= generation

    eventually(runs, what=f"generation {generation} at the router")


def test_a_price_cap_takes_out_dear_models_and_the_record_tells(mesh: Mesh) -> None:
    rule = '{name: cheap, when: purpose == "cheap", cap_usd_per_1k_tokens: "0.001"}'
    apply(mesh, "frugal", f"{{rules: [{rule}]}}")
    with mesh.client() as client:
        answer = client.chat(
            "resilient",
            "hi [[sandbox output_tokens=2]]",
            tenant="acme/retail/support",
            claims=Claims(purpose="cheap"),
        )
    assert answer.finished.attempts[-1].model == "sandbox-small"
    decision = mesh.record(answer.finished.record_id).decision
    assert decision.usd_nanos_per_1k_tokens_max == 1_000_000
    assert {(each.model, each.rule.rule) for each in decision.exclusions} == {
        ("sandbox-large", "cheap"),
        ("claude-sonnet", "cheap"),
    }
    assert {each.rule.effect for each in decision.exclusions} == {decision_pb2.EFFECT_CAP_PRICE}


def test_an_exception_lifts_a_denial_until_it_expires(mesh: Mesh) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    exception = (
        '{name: trial, when: purpose == "trial", owner: ann, approver: bob, reason: a trial, '
        f'expires: "{ends.isoformat()}", priority: 1}}'
    )
    deny = '{name: never, when: purpose == "trial", deny: no trials}'
    apply(mesh, "trials", f"{{rules: [{deny}], exceptions: [{exception}]}}")
    call: Options = {"tenant": "acme/retail/support", "claims": Claims(purpose="trial")}
    with mesh.client() as client:
        answer = client.chat("resilient", "hi [[sandbox output_tokens=1]]", **call)
        hits = {hit.rule: hit for hit in mesh.record(answer.finished.record_id).decision.rules}
        assert hits["trial"].approver == "bob"
        assert hits["trial"].message == "a trial"
        assert hits["trial"].expires_at.seconds == int(ends.timestamp())
        assert "never" in hits  # lifted, and still named

        def denied() -> str:
            try:
                client.chat("resilient", "hi [[sandbox output_tokens=1]]", **call)
            except PolicyDenied as error:
                return str(error)
            return ""

        assert "rule `never` denies this call" in eventually(denied, what="the end of the trial")


def test_a_rollout_of_0_percent_is_told_and_not_enforced(mesh: Mesh) -> None:
    rule = '{name: later, when: purpose == "later", deny: not yet, rollout: {percent: 0}}'
    apply(mesh, "rollout", f"{{rules: [{rule}]}}")
    with mesh.client() as client:
        answer = client.chat(
            "resilient",
            "hi [[sandbox output_tokens=1]]",
            tenant="acme/retail/support",
            claims=Claims(purpose="later"),
        )
    (hit,) = [
        hit for hit in mesh.record(answer.finished.record_id).decision.rules if hit.rule == "later"
    ]
    assert hit.mode == decision_pb2.MODE_WARN


@pytest.mark.parametrize("percent", ["-1", "101"])
def test_a_percentage_out_of_range_is_refused_at_its_place(mesh: Mesh, percent: str) -> None:
    rule = f"{{name: later, deny: x, rollout: {{percent: {percent}}}}}"
    before = mesh.generation()
    with pytest.raises(Exception, match=r"test.yaml:4:48: rule `later`: `percent` .* 0 to 100"):
        mesh.apply(POLICY.format(name="rollout", spec=f"{{rules: [{rule}]}}"))
    assert mesh.generation() == before
