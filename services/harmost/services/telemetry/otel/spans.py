"""A record as OTLP spans: one of the call, one of the exchange, one for each attempt that was sent.

Ids and times come from the record, so a record that is exported twice is the same spans twice. Messages
of errors stay in the record: a provider's may quote its prompt.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harmost.common.v1 import attempt_pb2, decision_pb2, usage_pb2
from harmost.core.otel.context import Parent
from harmost.core.otel.conventions import Conventions
from harmost.services.convert.times import time_from_proto
from harmost.services.telemetry.otel.attributes import Attributes
from harmost.services.telemetry.otel.outcomes import (
    OUTCOME_NAMES,
    SERVER_ERRORS,
    STATUS_NAMES,
    error_type,
    grpc_status,
    hops_of,
    is_sent,
    operation,
)
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["SpanMaker", "trace_id_of"]

SPANS_OF_RECORD = 2  # beside those of its attempts
NS_PER_S = 1_000_000_000
ITEMS_MAX = 64  # of a list attribute: rules, exclusions; what is beyond is in the record
_TRACE_ID_CHARS = 32
# Bits 8 and 9 of OTLP's flags say that it is known whether the parent is in another process: it is.
_SAMPLED, _REMOTE_KNOWN, _REMOTE = 0x1, 0x100, 0x200
_EFFECTS = {
    number: name.removeprefix("EFFECT_").lower() for name, number in decision_pb2.Effect.items()
}


def trace_id_of(record_id: str, parent: Parent | None) -> bytes:
    """The caller's trace, else one of the call's own: its record id, where that is one."""
    if parent is not None:
        return parent.trace_id
    if len(record_id) == _TRACE_ID_CHARS:
        try:
            trace_id = bytes.fromhex(record_id)
        except ValueError:
            trace_id = b""
        if len(trace_id) == 16 and any(trace_id):
            return trace_id
    return blake2b(record_id.encode(), digest_size=16, person=b"trace").digest()


class SpanMaker:
    """Makes spans by `conventions`; `vendors` says who a provider is."""

    def __init__(self, conventions: Conventions, vendors: Vendors) -> None:
        self._put = Attributes(conventions)
        self._vendors = vendors

    def spans(self, record: telemetry_pb2.Record, parent: Parent | None) -> list[Span]:
        """The spans of `record`, the call's first. O(attempts + rules), each list bounded."""
        trace_id = trace_id_of(record.record_id, parent)
        start_ns = time_from_proto(record.started_at)
        call = Span(
            trace_id=trace_id,
            span_id=_span_id(record.record_id, b"call"),
            parent_span_id=parent.span_id if parent is not None else b"",
            trace_state=record.tracestate,
            flags=_SAMPLED | _REMOTE_KNOWN | (_REMOTE if parent is not None else 0),
            name=_method(record.streamed, record.embeds),
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + record.total_ns,
        )
        self._tell_call(call, record)
        exchange = Span(
            trace_id=trace_id,
            span_id=_span_id(record.record_id, b"exchange"),
            parent_span_id=call.span_id,
            trace_state=record.tracestate,
            flags=_SAMPLED | _REMOTE_KNOWN,
            name=f"exchange {record.profile}",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + record.total_ns,
        )
        self._tell_exchange(exchange, record)
        made = [call, exchange]
        for attempt in record.attempts:
            if is_sent(attempt):
                made.append(self._attempt(exchange, record, attempt))
            else:
                self._tell_refusal(exchange, attempt)
        return made

    def _tell_call(self, span: Span, record: telemetry_pb2.Record) -> None:
        put, status = self._put, grpc_status(record)
        put.text(span, "rpc_system", "grpc")
        put.text(span, "rpc_method", span.name)
        put.text(span, "rpc_status", status)
        put.text(span, "record_id", record.record_id)
        put.text(span, "profile", record.profile)
        put.text(span, "tenant", record.tenant)
        put.text(span, "principal", record.principal)
        put.text(span, "agent", record.agent_id)
        put.text(span, "router", record.router_id)
        if status in SERVER_ERRORS:
            put.text(span, "error_type", error_type(record))
            span.status.code = Status.STATUS_CODE_ERROR

    def _tell_exchange(self, span: Span, record: telemetry_pb2.Record) -> None:
        put = self._put
        put.text(span, "profile", record.profile)
        put.text(span, "status", STATUS_NAMES[record.status])
        put.text(span, "reason", record.reason)
        put.flag(span, "streamed", record.streamed)
        if record.HasField("decision"):
            self._tell_decision(span, record.decision)
        put.texts(span, "budget_path", _levels(record.tenant))
        put.number(span, "attempts", sum(map(is_sent, record.attempts)))
        put.number(span, "hops", hops_of(record))
        put.number(span, "cost_usd_nanos", record.cost_usd_nanos)
        put.texts(span, "steps", record.steps)
        if record.added_ns:
            put.real(span, "added_s", record.added_ns / NS_PER_S)
        if record.status == telemetry_pb2.RECORD_STATUS_FAILED:
            put.text(span, "error_type", error_type(record))
            span.status.code = Status.STATUS_CODE_ERROR

    def _tell_decision(self, span: Span, decision: decision_pb2.Decision) -> None:
        put = self._put
        put.text(span, "effect", _EFFECTS[decision.effect])
        put.number(span, "generation", decision.snapshot_generation)
        put.texts(span, "candidates", decision.candidates[:ITEMS_MAX])
        put.texts(span, "data_classes", decision.data_classes[:ITEMS_MAX])
        put.texts(
            span,
            "rules",
            (
                f"{hit.policy}/{hit.rule} {_EFFECTS[hit.effect]}"
                for hit in decision.rules[:ITEMS_MAX]
            ),
        )
        put.texts(
            span,
            "excluded",
            (
                f"{each.model} {each.rule.policy}/{each.rule.rule}"
                for each in decision.exclusions[:ITEMS_MAX]
            ),
        )
        put.texts(
            span,
            "redactions",
            (f"{each.data_class} {each.spans}" for each in decision.redactions[:ITEMS_MAX]),
        )
        if decision.HasField("denied_by"):
            hit = decision.denied_by
            put.text(span, "denied_by", f"{hit.policy}/{hit.rule}")

    def _attempt(
        self, exchange: Span, record: telemetry_pb2.Record, attempt: attempt_pb2.Attempt
    ) -> Span:
        start_ns = time_from_proto(attempt.started_at) or exchange.start_time_unix_nano
        model = attempt.vendor_model_id or attempt.model
        span = Span(
            trace_id=exchange.trace_id,
            span_id=_span_id(attempt.attempt_id, b"attempt"),
            parent_span_id=exchange.span_id,
            trace_state=record.tracestate,
            flags=_SAMPLED | _REMOTE_KNOWN,
            name=f"{operation(record)} {model}",
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + attempt.total_ns,
        )
        put = self._put
        vendor = self._vendors.of(attempt.provider, attempt.region)
        put.text(span, "operation", operation(record))
        put.text(span, "provider", vendor.name)
        put.text(span, "request_model", model)
        put.flag(span, "stream", not record.embeds)
        if attempt.output_tokens_max:
            put.number(span, "max_tokens", attempt.output_tokens_max)
        put.text(span, "response_id", attempt.provider_response_id)
        if attempt.finish_reason:
            put.texts(span, "finish_reasons", (attempt.finish_reason,))
        if attempt.first_token_ns:
            put.real(span, "first_chunk_s", attempt.first_token_ns / NS_PER_S)
        if vendor.address:
            put.text(span, "server_address", vendor.address)
            put.number(span, "server_port", vendor.port)
        self._tell_usage(span, attempt.usage)
        put.text(span, "attempt_id", attempt.attempt_id)
        put.text(span, "attempt_model", attempt.model)
        put.text(span, "attempt_provider", attempt.provider)
        put.text(span, "outcome", OUTCOME_NAMES[attempt.outcome])
        put.number(span, "cost_usd_nanos", attempt.cost_usd_nanos)
        put.number(span, "held_usd_nanos", attempt.held_usd_nanos)
        put.text(span, "price_version", attempt.price_version)
        put.text(span, "region", attempt.region)
        if failure := error_type(attempt):
            put.text(span, "error_type", failure)
            span.status.code = Status.STATUS_CODE_ERROR
        return span

    def _tell_usage(self, span: Span, usage: usage_pb2.TokenUsage) -> None:
        put = self._put
        if not usage.input_tokens and not usage.output_tokens:
            return
        put.number(span, "input_tokens", usage.input_tokens)
        put.number(span, "output_tokens", usage.output_tokens)
        if usage.cached_input_tokens:
            put.number(span, "cache_read", usage.cached_input_tokens)
        written = usage.cache_write_5m_input_tokens + usage.cache_write_1h_input_tokens
        if written:
            put.number(span, "cache_write", written)
        if usage.reasoning_output_tokens:
            put.number(span, "reasoning", usage.reasoning_output_tokens)
        if usage.source != usage_pb2.USAGE_SOURCE_PROVIDER:
            put.flag(span, "estimated", True)

    def _tell_refusal(self, exchange: Span, attempt: attempt_pb2.Attempt) -> None:
        """An attempt that no budget admitted was sent to nobody: an event, not a span."""
        event = exchange.events.add(
            name="harmost.attempt.not_admitted",
            time_unix_nano=time_from_proto(attempt.started_at) or exchange.start_time_unix_nano,
        )
        self._put.text(event, "attempt_id", attempt.attempt_id)
        self._put.text(event, "attempt_model", attempt.model)


@lru_cache(maxsize=4)
def _method(streamed: bool, embeds: bool) -> str:
    name = "StreamChat" if streamed else "Embed" if embeds else "Chat"
    return f"harmost.router.v1.RouterService/{name}"


def _span_id(name: str, kind: bytes) -> bytes:
    return blake2b(name.encode(), digest_size=8, person=kind).digest()


def _levels(tenant: str) -> Iterable[str]:
    parts = tenant.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
