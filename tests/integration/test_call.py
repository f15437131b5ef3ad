"""One governed call through the running mesh, from the gate to the record."""

import psutil
import pytest
from mesh import Mesh, eventually

from harmost.budget.v1 import budget_pb2
from harmost.client import (
    Claims,
    Delta,
    Finished,
    Hop,
    PolicyDenied,
    ProviderFailed,
    Started,
    StepFinished,
    StepStarted,
)
from harmost.common.v1 import attempt_pb2
from harmost.telemetry.v1 import telemetry_pb2

pytestmark = pytest.mark.parametrize("mesh", ["wire", "grpcio"], indirect=True, scope="module")

SUPPORT = "customer-support-escalation"


def test_a_stream_is_started_answered_and_finished_with_its_cost(mesh: Mesh) -> None:
    with mesh.client() as client:
        events = list(client.stream("hello", "What is a harmost? [[sandbox output_tokens=20]]"))
    assert [type(event) for event in events[:2]] == [Started, StepStarted]
    assert isinstance(events[-2], StepFinished)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert sum(isinstance(event, Delta) for event in events) == 20
    assert finished.usage.output_tokens == 20
    attempt_id = finished.attempts[0].attempt_id
    # The provider may close its books a moment after its last word.
    billed = eventually(lambda: mesh.billed().get(attempt_id), what="the bill")
    assert finished.cost_usd_nanos == billed > 0


def test_only_policy_has_a_cel_compiler(mesh: Mesh) -> None:
    with mesh.client() as client:
        client.chat("resilient", "My card is 4111 1111 1111 1111.")  # decided by rules
    loaded = {
        service: any(
            "cel_expr_python" in mapped.path
            for mapped in psutil.Process(mesh.pid(service)).memory_maps()
        )
        for service in ("policy", "router", "budget", "telemetry")
    }
    assert loaded == {"policy": True, "router": False, "budget": False, "telemetry": False}


def test_the_whole_answer_is_the_same_as_the_streamed_one(mesh: Mesh) -> None:
    question = "Same question, same words [[sandbox output_tokens=30]]"
    with mesh.client() as client:
        streamed = "".join(
            event.text for event in client.stream("hello", question) if isinstance(event, Delta)
        )
        whole = client.chat("hello", question)
    assert whole.text == streamed


def test_the_record_and_the_ledger_say_what_the_caller_heard(mesh: Mesh) -> None:
    with mesh.client() as client:
        finished = client.chat("hello", "Keep a record of this").finished
    record = mesh.record(finished.record_id)
    assert record.status == telemetry_pb2.RECORD_STATUS_COMPLETED
    assert record.cost_usd_nanos == finished.cost_usd_nanos
    attempt_id = finished.attempts[0].attempt_id
    mesh.quiet()
    (settled,) = mesh.entries(attempt_id)
    assert settled.kind == budget_pb2.ENTRY_KIND_SETTLE
    assert settled.amount.usd_nanos == finished.cost_usd_nanos
    assert settled.usage.output_tokens == finished.usage.output_tokens


def test_every_level_of_the_path_is_charged(mesh: Mesh) -> None:
    usd = budget_pb2.UNIT_USD_NANOS
    mesh.quiet()
    before = mesh.budgets()
    with mesh.client() as client:
        finished = client.chat("hello", "Charge me", tenant="acme/retail/support").finished
    mesh.quiet()
    after = mesh.budgets()
    for name in ("acme-monthly", "support-daily"):
        spent = after[name, usd].settled - before[name, usd].settled
        assert spent == finished.cost_usd_nanos
        assert after[name, usd].held == before[name, usd].held


def test_two_steps_run_and_the_second_sees_the_first(mesh: Mesh) -> None:
    with mesh.client() as client:
        events = list(client.stream(SUPPORT, "I am furious, nothing works!"))
    ended = [event for event in events if isinstance(event, StepFinished)]
    assert [(step.step, step.skipped) for step in ended] == [("empathy", False), ("resolve", False)]
    assert ended[0].output == {"score": 8}
    assert len(events[-1].attempts) == 2
    assert list(mesh.record(events[-1].record_id).steps) == ["empathy", "resolve"]


def test_a_step_whose_condition_is_false_is_left_out(mesh: Mesh) -> None:
    with mesh.client() as client:
        calm = 'All is well, thank you. [[sandbox json={"score": 2}]]'
        events = list(client.stream(SUPPORT, calm))
    ended = [event for event in events if isinstance(event, StepFinished)]
    assert [(step.step, step.skipped) for step in ended] == [("empathy", False), ("resolve", True)]
    assert isinstance(events[-1], Finished)


def test_a_card_number_never_leaves(mesh: Mesh) -> None:
    with mesh.client() as client:
        finished = client.chat("hello", "My card is 4111 1111 1111 1111, help").finished
    redaction = finished.decision.redactions[0]
    assert (redaction.data_class, redaction.spans) == ("pan", 1)
    assert "pan" in finished.decision.data_classes


def test_personal_data_of_the_eea_stays_there(mesh: Mesh) -> None:
    key = mesh.key("acme/retail/support", "support-app", "caller")
    claims = Claims(subject_region="EEA")
    with mesh.client(key) as client:
        finished = client.chat("resilient", "mail me: a@example.com", claims=claims).finished
    assert {out.model for out in finished.decision.exclusions} == {"sandbox-large"}
    assert finished.model == "claude-sonnet"


def test_a_denial_names_rule_and_citation_and_is_recorded(mesh: Mesh) -> None:
    key = mesh.key("acme/retail/support", "support-app", "caller")
    with mesh.client(key) as client, pytest.raises(PolicyDenied) as caught:
        client.chat("hello", "rank people", claims=Claims(purpose="social_scoring"))
    assert caught.value.metadata["rule"] == "no-social-scoring"
    assert "EU AI Act" in caught.value.metadata["citations"]
    record = mesh.record(caught.value.metadata["record_id"])
    assert record.status == telemetry_pb2.RECORD_STATUS_POLICY_DENIED
    assert not record.attempts


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("fail=503", attempt_pb2.ATTEMPT_OUTCOME_PROVIDER_ERROR),
        ("throttle=1", attempt_pb2.ATTEMPT_OUTCOME_THROTTLED),
        ("break_after=0", attempt_pb2.ATTEMPT_OUTCOME_CONNECT_FAILED),
        ("garbage=bytes", attempt_pb2.ATTEMPT_OUTCOME_BROKEN),
    ],
)
def test_a_failure_before_the_first_token_hops_until_no_model_is_left(
    mesh: Mesh, fault: str, outcome: int
) -> None:
    with mesh.client() as client, pytest.raises(ProviderFailed) as caught:
        client.chat("resilient", f"fail [[sandbox {fault}]]")
    record = mesh.record(caught.value.metadata["record_id"])
    assert [a.model for a in record.attempts] == ["sandbox-large", "claude-sonnet", "sandbox-small"]
    assert {a.outcome for a in record.attempts} <= {outcome, attempt_pb2.ATTEMPT_OUTCOME_BROKEN}


def test_the_next_model_answers_where_the_first_fails(mesh: Mesh) -> None:
    with mesh.client() as client:
        events = list(client.stream("resilient", "once [[sandbox fail_first=1:hop-once]]"))
    hops = [event for event in events if isinstance(event, Hop)]
    assert [(hop.from_model, hop.to_model) for hop in hops] == [("sandbox-large", "claude-sonnet")]
    assert events[-1].model == "claude-sonnet"
    assert [attempt.cost_usd_nanos > 0 for attempt in events[-1].attempts] == [False, True]


def test_silence_before_the_first_token_is_a_stall(mesh: Mesh) -> None:
    with mesh.client() as client, pytest.raises(ProviderFailed) as caught:
        client.chat("resilient", "quiet [[sandbox stall_after=0]]")
    record = mesh.record(caught.value.metadata["record_id"])
    assert {a.outcome for a in record.attempts} == {attempt_pb2.ATTEMPT_OUTCOME_STALLED}


def test_holds_are_gone_when_all_is_quiet(mesh: Mesh) -> None:
    mesh.quiet()
    assert not any(budget.debt for budget in mesh.budgets().values())


def test_an_outcome_counts_for_who_may_see_the_record_and_no_one_else(mesh: Mesh) -> None:
    stranger = mesh.key("acme/research", "notebooks", "caller")
    with mesh.client() as client, mesh.client(stranger) as other:
        record_id = client.chat("hello", "Was it good?", tenant="acme/retail").finished.record_id
        other.report_outcome(record_id, name="sabotage", score_permille=0)
        client.report_outcome(record_id, name="thumbs", score_permille=900)
    record = eventually(
        lambda: (r := mesh.record(record_id)).outcomes and r, what="the outcome on the record"
    )
    assert [(o.name, o.score_permille) for o in record.outcomes] == [("thumbs", 900)]


REGIONAL = """
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: far, tenant: acme}}
spec:
  codec: openai
  base_url: http://127.0.0.1:1
  region: US
  regions: {{EEA: "http://{sandbox}/openai/v1"}}
  usage_path: /usage
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: far-eea, tenant: acme}}
spec: {{provider: far, vendor_model_id: sandbox-small, region: EEA, price: {{input: "1", output: "1"}}}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: far-us, tenant: acme}}
spec: {{provider: far, vendor_model_id: sandbox-small, price: {{input: "1", output: "1"}}}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: far, tenant: acme}}
spec: {{models: [far-us, far-eea]}}
"""


def test_a_model_is_called_at_the_address_of_its_region(mesh: Mesh) -> None:
    mesh.apply(REGIONAL.format(sandbox=mesh.endpoints["sandbox"]))
    with mesh.client() as client:
        finished = client.chat("far", "where are you?").finished
    assert finished.model == "far-eea"
    nowhere, there = mesh.record(finished.record_id).attempts
    assert (nowhere.provider, there.provider) == ("far", "far")
    assert "provider `far` in `US`" in nowhere.error  # whose address nobody answers at
    assert there.cost_usd_nanos == finished.cost_usd_nanos > 0


RESTING = """
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: resting, tenant: acme}
spec: {provider: sandbox, vendor_model_id: resting, price: {input: "0.15", output: "0.60"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: rests, tenant: acme}
spec: {models: [resting, sandbox-large]}
"""


def test_a_model_whose_provider_asks_for_a_rest_comes_last_and_operators_see_it(mesh: Mesh) -> None:
    mesh.apply(RESTING)
    with mesh.client() as client:
        refused = client.chat("rests", "hi [[sandbox fail_first=1:rests throttle=60]]").finished
        assert [each.outcome for each in refused.attempts] == ["throttled", "completed"]
        rested = client.chat("rests", "hi").finished
    assert [each.model for each in rested.attempts] == ["sandbox-large"]
    assert any("model resting/rate_limit" in warning for warning in rested.warnings)
    (told,) = (each for each in mesh.stats(0).provider_limits if each.vendor_model_id == "resting")
    assert 0 < told.rest_ns <= 60 * 10**9
    shown = mesh.harmost("top", "--once", "--interval", "0.1").stdout
    assert "resting" in shown
