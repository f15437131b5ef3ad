"""What the domain says survives the wire, whole."""

from typing import get_args

import msgspec
import pytest
from google.protobuf.message import Message
from hypothesis import assume, given
from hypothesis import strategies as st

from harmost.common.v1 import attempt_pb2, decision_pb2
from harmost.core.audit.rows import (
    AttemptOutcome,
    AttemptSummary,
    MissionStatus,
    Outcome,
    RecordSummary,
)
from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision, Effect, Exclusion, Mode, Redaction, RuleHit
from harmost.core.providers.codec import ProviderErrorKind
from harmost.core.usage import TokenUsage
from harmost.services.convert.attempt import attempt_from_proto, attempt_to_proto
from harmost.services.convert.decision import (
    DECISIONS_MAX,
    decision_from_proto,
    decision_to_bytes,
    decision_to_proto,
)
from harmost.services.convert.record import (
    RECORD,
    outcome_report_from_proto,
    outcome_report_to_proto,
    record_from_proto,
    record_to_proto,
)
from harmost.services.convert.usage import usage_from_proto, usage_to_proto
from harmost.telemetry.v1 import telemetry_pb2

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 10**9)
nanos = st.integers(0, 10**18)
small = st.integers(0, 2**31 - 1)


def some(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


usages = st.builds(
    TokenUsage,
    input_tokens=counts,
    cached_input_tokens=counts,
    cache_write_5m_input_tokens=counts,
    cache_write_1h_input_tokens=counts,
    output_tokens=counts,
    reasoning_output_tokens=counts,
    audio_input_tokens=counts,
    audio_output_tokens=counts,
    tool_calls=st.dictionaries(names, counts, max_size=2),
    exact=st.booleans(),
)
hits = st.builds(
    RuleHit,
    policy=names,
    rule=names,
    effect=st.sampled_from(Effect.__args__),
    mode=st.sampled_from(Mode.__args__),
    message=names,
    citations=some(names),
    error=names,
)
decisions = st.builds(
    Decision,
    effect=st.sampled_from(["allow", "deny"]),
    hits=some(hits),
    exclusions=some(st.builds(Exclusion, model=names, hit=hits)),
    candidates=some(names),
    output_tokens_max=counts,
    redactions=some(st.builds(Redaction, data_class=names, how=names, spans=small)),
    denied_by=st.none() | hits,
    snapshot_generation=nanos,
    data_classes=some(names),
)
attempts = st.builds(
    AttemptSummary,
    attempt_id=names,
    model=names,
    provider=names,
    outcome=st.sampled_from(AttemptOutcome.__args__),
    started_at_ns=nanos,
    error=names,
    usage=usages,
    cost_usd_nanos=nanos,
    first_token_ns=nanos,
    total_ns=nanos,
    step_index=small,
    held_usd_nanos=nanos,
    provider_response_id=names,
    price_version=names,
    error_kind=st.sampled_from(("", *get_args(ProviderErrorKind))),
)
outcomes = st.builds(Outcome, name=names, score_permille=st.integers(0, 1000), reported_at_ns=nanos)
records = st.builds(
    RecordSummary,
    record_id=names,
    tenant=names,
    profile=names,
    principal=names,
    router_id=names,
    status=st.sampled_from(MissionStatus.__args__),
    started_at_ns=nanos,
    reason=names,
    agent_id=names,
    end_user_id=names,
    labels=st.dictionaries(names, names, max_size=3),
    decision=st.none() | decisions,
    attempts=some(attempts),
    usage=usages,
    cost_usd_nanos=nanos,
    total_ns=nanos,
    first_token_ns=nanos,
    added_ns=nanos,
    steps=some(names),
    journal_sequence=nanos,
    outcomes=some(outcomes),
)


def over_the_wire(message: Message) -> Message:
    return type(message).FromString(message.SerializeToString())


@given(usages)
def test_usage_survives_the_wire(usage: TokenUsage) -> None:
    assert usage_from_proto(over_the_wire(usage_to_proto(usage))) == usage


@given(decisions)
def test_a_decision_survives_the_wire(decision: Decision) -> None:
    assert decision_from_proto(over_the_wire(decision_to_proto(decision))) == decision


@given(attempts)
def test_an_attempt_survives_the_wire(attempt: AttemptSummary) -> None:
    assert attempt_from_proto(over_the_wire(attempt_to_proto(attempt))) == attempt


@given(outcomes)
def test_an_outcome_survives_the_wire(outcome: Outcome) -> None:
    assert outcome_report_from_proto(over_the_wire(outcome_report_to_proto(outcome))) == outcome


@given(records)
def test_a_record_survives_the_wire(record: RecordSummary) -> None:
    assert record_from_proto(over_the_wire(record_to_proto(record))) == record


@given(records)
def test_a_record_is_written_as_protobuf_writes_it(record: RecordSummary) -> None:
    one_key_each = msgspec.structs.replace(record, labels=dict([*record.labels.items()][:1]))
    message = record_to_proto(one_key_each)  # of several keys protobuf may take any first
    assume(
        all(
            len(usage.tool_calls) < 2
            for usage in (message.usage, *(a.usage for a in message.attempts))
        )
    )
    assert RECORD.write(one_key_each) == message.SerializeToString(deterministic=True)


def test_a_decision_that_means_nothing_is_refused_by_name_each_time() -> None:
    decision = decision_pb2.Decision(effect=decision_pb2.EFFECT_ALLOW)
    decision.rules.add(policy="p", effect=77)  # type: ignore[arg-type]
    for index in range(2):
        with pytest.raises(InvalidInput, match=rf"`d\[{index}\]\.rules\[0\]\.effect` is 77"):
            decision_from_proto(decision, field=f"d[{index}]")


def test_every_outcome_and_status_of_the_contract_has_a_name_in_the_domain() -> None:
    assert len(AttemptOutcome.__args__) == len(attempt_pb2.AttemptOutcome.values()) - 1
    assert len(MissionStatus.__args__) == len(telemetry_pb2.RecordStatus.values()) - 1
    assert len(Effect.__args__) == len(decision_pb2.Effect.values()) - 1


def test_absent_times_are_absent_on_the_wire() -> None:
    message = attempt_to_proto(
        AttemptSummary(
            attempt_id="a", model="m", provider="p", outcome="completed", started_at_ns=0
        )
    )
    assert not message.HasField("started_at")


def test_a_status_that_means_nothing_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"`records\[3\]\.status` is 0") as error:
        record_from_proto(telemetry_pb2.Record(record_id="r"), field="records[3]")
    assert error.value.violations[0].field == "records[3].status"


def test_an_attempt_without_outcome_is_refused_by_name() -> None:
    record = telemetry_pb2.Record(record_id="r", status=telemetry_pb2.RECORD_STATUS_FAILED)
    record.attempts.add(attempt_id="a")
    with pytest.raises(InvalidInput, match=r"`record\.attempts\[0\]\.outcome`"):
        record_from_proto(record)


def test_a_remembered_decision_is_the_decision() -> None:
    decision_to_bytes.cache_clear()
    for number in range(DECISIONS_MAX + 10):
        decision = Decision(effect="allow", candidates=("m",), snapshot_generation=number)
        for _ in range(2):
            told = decision_pb2.Decision.FromString(decision_to_bytes(decision))
            assert decision_from_proto(told) == decision
    assert decision_to_bytes.cache_info().currsize == DECISIONS_MAX


def test_a_failure_of_a_newer_router_is_a_failure() -> None:
    told = attempt_pb2.Attempt(outcome=attempt_pb2.ATTEMPT_OUTCOME_REJECTED, error_kind="zork")
    assert attempt_from_proto(told).error_kind == "provider_error"
