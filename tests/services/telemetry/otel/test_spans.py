"""A record as spans: who is whose parent, what each says, and that nothing else is said."""

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_receiver import attributes_of

from harmost.common.v1 import attempt_pb2
from harmost.core.audit.rows import AttemptOutcome, AttemptSummary, MissionStatus, RecordSummary
from harmost.core.otel.context import parent_of
from harmost.core.otel.conventions import ATTRIBUTES, CONVENTIONS, Conventions, names
from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import record_to_proto
from harmost.services.telemetry.otel.outcomes import error_type
from harmost.services.telemetry.otel.spans import SpanMaker
from harmost.services.telemetry.otel.vendors import Vendors

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORD_ID = "18ea758333753e3b3513b0cdf20c99c5"
AT_NS = 1_800_000_000_000_000_000
HIT = RuleHit(policy="privacy", rule="no-cards", effect="redact", mode="enforce")
OUT = RuleHit(policy="eu", rule="stay", effect="deny", mode="enforce")
USAGE = TokenUsage(
    input_tokens=100,
    cached_input_tokens=60,
    cache_write_5m_input_tokens=10,
    output_tokens=40,
    reasoning_output_tokens=5,
)
VENDORS = Vendors({"oai": ProviderSpec(codec="openai", base_url="https://api.openai.com/v1")})
TYPES = {"string": str, "int": int, "double": float, "boolean": bool, "string[]": list}


def attempt(number: int, outcome: AttemptOutcome = "completed", **more: Any) -> AttemptSummary:
    fields: dict[str, Any] = {
        "attempt_id": f"{RECORD_ID}-{number}",
        "model": f"model-{number}",
        "provider": "oai",
        "outcome": outcome,
        "started_at_ns": AT_NS + number * 1_000,
        "total_ns": 500,
        "vendor_model_id": "gpt-4o-mini",
    }
    return AttemptSummary(**(fields | more))


def spans(
    *attempts: AttemptSummary,
    status: MissionStatus = "completed",
    conventions: Conventions = "v1.41",
    **more: Any,
) -> list[Span]:
    fields: dict[str, Any] = {
        "record_id": RECORD_ID,
        "tenant": "acme/retail/support",
        "profile": "resilient",
        "principal": "app",
        "router_id": "router-0",
        "status": status,
        "started_at_ns": AT_NS,
        "total_ns": 9_000,
        "attempts": attempts,
        "streamed": True,
    }
    record = record_to_proto(RecordSummary(**(fields | more)))
    return SpanMaker(conventions, VENDORS).spans(record, parent_of(record.traceparent))


def whole(conventions: Conventions = "v1.41") -> list[Span]:
    """A call with everything that can be told of one."""
    decision = Decision(
        effect="allow",
        hits=(HIT,),
        exclusions=(Exclusion(model="model-9", hit=OUT),),
        candidates=("model-0", "model-1"),
        redactions=(Redaction(data_class="pan", how="mask_last4", spans=2),),
        snapshot_generation=7,
        data_classes=("pan",),
    )
    answered = attempt(
        1,
        usage=USAGE,
        cost_usd_nanos=305,
        first_token_ns=200_000_000,
        held_usd_nanos=900,
        provider_response_id="chatcmpl-1",
        price_version="list",
        finish_reason="stop",
        output_tokens_max=256,
        region="US",
    )
    return spans(
        attempt(0, "throttled", error="your prompt was: SECRET"),
        answered,
        conventions=conventions,
        decision=decision,
        usage=USAGE,
        cost_usd_nanos=305,
        added_ns=6_000_000,
        steps=("answer",),
        agent_id="crawler",
        end_user_id="user-4711",
        labels={"note": "SECRET"},
        traceparent=f"00-{TRACE}-{CALLER}-01",
        tracestate="vendor=1",
    )


def test_a_call_is_a_server_span_below_its_caller_with_an_exchange_and_its_attempts_below() -> None:
    call, exchange, first, second = whole()
    assert {span.trace_id.hex() for span in (call, exchange, first, second)} == {TRACE}
    assert call.parent_span_id.hex() == CALLER
    assert exchange.parent_span_id == call.span_id
    assert first.parent_span_id == second.parent_span_id == exchange.span_id
    assert [s.kind for s in (call, exchange, first, second)] == [
        Span.SPAN_KIND_SERVER,
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CLIENT,
        Span.SPAN_KIND_CLIENT,
    ]
    assert len({span.span_id for span in whole()}) == 4
    assert call.name == "harmost.router.v1.RouterService/StreamChat"
    assert (exchange.name, second.name) == ("exchange resilient", "chat gpt-4o-mini")
    assert call.trace_state == "vendor=1"


def test_times_are_those_of_the_record() -> None:
    call, exchange, first, second = whole()
    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (AT_NS, AT_NS + 9_000)
    assert (exchange.start_time_unix_nano, exchange.end_time_unix_nano) == (AT_NS, AT_NS + 9_000)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (AT_NS, AT_NS + 500)
    assert second.start_time_unix_nano == AT_NS + 1_000


def test_a_call_without_a_caller_is_a_trace_of_its_own_named_by_its_record() -> None:
    call, *_ = spans(attempt(0))
    assert call.trace_id.hex() == RECORD_ID
    assert call.parent_span_id == b""


@pytest.mark.parametrize("record_id", ["rec_1", "x" * 32, "0" * 32, "é" * 32])
def test_a_record_id_that_is_no_trace_id_still_gives_one(record_id: str) -> None:
    call, *_ = spans(record_id=record_id)
    assert len(call.trace_id) == 16
    assert any(call.trace_id)


def test_the_same_record_gives_the_same_spans() -> None:
    assert whole() == whole()


@pytest.mark.parametrize("conventions", CONVENTIONS)
def test_every_attribute_is_of_the_table_and_of_its_type(conventions: Conventions) -> None:
    types = {
        name: attribute.type
        for key, attribute in ATTRIBUTES.items()
        for name in names(key, conventions)
    }
    for span in whole(conventions):
        told = attributes_of(span)
        assert len(told) == len(span.attributes)  # none twice
        for name, value in told.items():
            assert type(value) is TYPES[types[name]], name
            assert not isinstance(value, list) or all(type(each) is str for each in value)


def test_an_attempt_says_what_the_conventions_ask_for() -> None:
    told = attributes_of(whole()[3])
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.request.model"] == "gpt-4o-mini"
    assert told["gen_ai.request.max_tokens"] == 256
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["gen_ai.response.time_to_first_chunk"] == 0.2
    assert told["gen_ai.usage.input_tokens"] == 100
    assert told["gen_ai.usage.output_tokens"] == 40
    assert told["gen_ai.usage.cache_read.input_tokens"] == 60
    assert told["gen_ai.usage.cache_creation.input_tokens"] == 10
    assert told["gen_ai.usage.reasoning.output_tokens"] == 5
    assert (told["server.address"], told["server.port"]) == ("api.openai.com", 443)
    assert told["harmost.cost"] == 305


def test_a_call_for_vectors_is_told_as_embeddings() -> None:
    call, _, sent = spans(attempt(0), streamed=False, embeds=True)
    assert call.name == "harmost.router.v1.RouterService/Embed"
    assert sent.name == "embeddings gpt-4o-mini"
    told = attributes_of(sent)
    assert told["gen_ai.operation.name"] == "embeddings"
    assert told["gen_ai.request.stream"] is False


def test_dup_says_what_is_renamed_under_both_names() -> None:
    told = attributes_of(whole("dup")[3])
    assert told["gen_ai.usage.cache_creation.input_tokens"] == 10
    assert told["gen_ai.usage.cache_write.input_tokens"] == 10
    assert "gen_ai.usage.cache_creation.input_tokens" not in attributes_of(whole("latest")[3])


def test_the_exchange_says_what_was_decided_and_who_pays() -> None:
    told = attributes_of(whole()[1])
    assert told["harmost.decision.effect"] == "allow"
    assert told["harmost.decision.rules"] == ["privacy/no-cards redact"]
    assert told["harmost.decision.excluded"] == ["model-9 eu/stay"]
    assert told["harmost.decision.redactions"] == ["pan 2"]
    assert told["harmost.budget.path"] == ["acme", "acme/retail", "acme/retail/support"]
    assert (told["harmost.attempts"], told["harmost.hops"]) == (2, 1)
    assert told["harmost.added"] == 0.006


def test_no_text_of_a_caller_or_provider_is_told() -> None:
    for span in whole():
        assert b"SECRET" not in span.SerializeToString()
        assert b"user-4711" not in span.SerializeToString()


def test_an_attempt_that_failed_is_an_error_by_its_outcome() -> None:
    _, _, first, second = whole()
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert attributes_of(first)["error.type"] == "throttled"
    assert second.status.code == Status.STATUS_CODE_UNSET
    assert "error.type" not in attributes_of(second)


def test_a_call_that_its_caller_may_not_make_is_no_error_of_the_server() -> None:
    denied = Decision(effect="deny", hits=(OUT,), denied_by=OUT)
    call, exchange = spans(status="policy_denied", reason="POLICY_DENIED", decision=denied)
    assert attributes_of(call)["rpc.response.status_code"] == "PERMISSION_DENIED"
    assert call.status.code == Status.STATUS_CODE_UNSET
    assert attributes_of(exchange)["harmost.decision.denied_by"] == "eu/stay"


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("completed", "", "OK"),
        ("budget_denied", "BUDGET_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        ("failed", "PROVIDER_FAILED", "UNAVAILABLE"),
        ("failed", "NEVER_HEARD_OF", "UNKNOWN"),
        ("cancelled", "CANCELLED", "CANCELLED"),
        ("cancelled", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        ("interrupted", "INTERRUPTED", "UNAVAILABLE"),
        ("killed", "KILLED", "PERMISSION_DENIED"),
    ],
)
def test_a_call_ends_with_the_status_that_its_caller_saw(
    status: MissionStatus, reason: str, code: str
) -> None:
    call, *_ = spans(status=status, reason=reason)
    assert attributes_of(call)["rpc.response.status_code"] == code
    is_error = code in ("UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED")
    assert (call.status.code == Status.STATUS_CODE_ERROR) == is_error
    assert ("error.type" in attributes_of(call)) == is_error


def test_an_attempt_that_no_budget_admitted_is_an_event_and_no_span() -> None:
    call, exchange = spans(attempt(0, "not_admitted"), status="budget_denied")
    assert [event.name for event in exchange.events] == ["harmost.attempt.not_admitted"]
    assert attributes_of(exchange.events[0])["harmost.model"] == "model-0"
    assert not call.events


def test_an_attempt_of_a_next_step_is_no_hop() -> None:
    _, exchange, *_ = spans(attempt(0), attempt(1, step_index=1))
    assert attributes_of(exchange)["harmost.hops"] == 0


def test_lists_and_texts_that_are_too_long_are_cut() -> None:
    hits = tuple(
        RuleHit(policy="p" * 600, rule=str(n), effect="allow", mode="enforce") for n in range(100)
    )
    _, exchange = spans(decision=Decision(effect="allow", hits=hits))
    rules = attributes_of(exchange)["harmost.decision.rules"]
    assert len(rules) == 64
    assert {len(rule) for rule in rules} == {512}


def test_a_provider_that_is_gone_by_now_is_called_as_its_document_was() -> None:
    *_, span = spans(attempt(0, provider="gone"))
    told = attributes_of(span)
    assert told["gen_ai.provider.name"] == "gone"
    assert "server.address" not in told


@pytest.mark.parametrize(
    ("kind", "told"), [("auth", "auth"), ("zork", "rejected"), ("", "rejected")]
)
def test_a_failure_is_told_by_its_kind_where_that_is_known(kind: str, told: str) -> None:
    failed = attempt_pb2.Attempt(outcome=attempt_pb2.ATTEMPT_OUTCOME_REJECTED, error_kind=kind)
    assert error_type(failed) == told
