"""Protos to the values of events.py: the only file that reads both."""

from array import array
from typing import Any

from google.protobuf import json_format

from harmost.client import events
from harmost.client.parts import Part, Reasoning, Text, ToolCall
from harmost.common.v1 import attempt_pb2, decision_pb2, usage_pb2
from harmost.router.v1 import router_pb2

__all__ = ["chat_result", "embed_result", "event_of", "model_info", "profile_info"]


def event_of(message: router_pb2.StreamChatResponse) -> events.Event | None:
    """The event in `message`; None for a kind that this version does not know."""
    sequence = message.sequence
    match message.WhichOneof("event"):
        case "delta":
            return _delta(message.delta, sequence)
        case "started":
            return _started(message.started, sequence)
        case "step_started":
            return _step_started(message.step_started, sequence)
        case "tool_call_delta":
            return _tool_call_delta(message.tool_call_delta, sequence)
        case "hop":
            return _hop(message.hop, sequence)
        case "step_finished":
            return _step_finished(message.step_finished, sequence)
        case "finished":
            return _finished(message.finished, sequence)
        case _:
            return None


def chat_result(message: router_pb2.ChatResponse) -> events.ChatResult:
    """A whole answer. Parts of a kind that this version does not know are left out."""
    text = "".join(part.text for part in message.parts)
    parts = tuple(part for each in message.parts if (part := _part(each)) is not None)
    return events.ChatResult(text, _finished(message.finished, 0), parts)


def embed_result(message: router_pb2.EmbedResponse) -> events.EmbedResult:
    """Vectors, and the end of their mission."""
    vectors = tuple(array("f", each.values) for each in message.embeddings)
    return events.EmbedResult(vectors, _finished(message.finished, 0))


def _part(message: router_pb2.Part) -> Part | None:
    match message.WhichOneof("content"):
        case "text":
            return Text(message.text)
        case "tool_call":
            call = message.tool_call
            return ToolCall(call.call_id, call.name, call.arguments_json)
        case "reasoning":
            return Reasoning(message.reasoning.text, message.reasoning.signature)
        case _:
            return None


def model_info(message: router_pb2.ModelInfo) -> events.ModelInfo:
    """A catalog entry."""
    has = message.HasField
    return events.ModelInfo(
        name=message.name,
        provider=message.provider,
        vendor_model_id=message.vendor_model_id,
        context_tokens_max=message.context_tokens_max,
        region=message.region,
        input_usd_picos_per_token=message.input_usd_picos_per_token
        if has("input_usd_picos_per_token")
        else None,
        output_usd_picos_per_token=message.output_usd_picos_per_token
        if has("output_usd_picos_per_token")
        else None,
        status=message.status,
        version=message.version,
        output_tokens_max=message.output_tokens_max,
        capabilities=tuple(message.capabilities),
        certifications=tuple(message.certifications),
        quality=dict(message.quality),
        deprecated_on=message.deprecated_on,
        retires_on=message.retires_on,
        replacement=message.replacement,
        warning=message.warning,
    )


def profile_info(message: router_pb2.ProfileInfo) -> events.ProfileInfo:
    """A mission profile."""
    return events.ProfileInfo(
        message.name,
        message.tenant,
        tuple(message.steps),
        tuple(message.models),
        message.description,
    )


def _delta(message: router_pb2.Delta, sequence: int) -> events.Delta:
    return events.Delta(
        sequence,
        message.step_index,
        message.choice_index,
        message.attempt_id,
        message.text,
        message.reasoning.text if message.HasField("reasoning") else "",
    )


def _started(message: router_pb2.Started, sequence: int) -> events.Started:
    return events.Started(sequence, message.record_id, message.tenant, _decision(message.decision))


def _step_started(message: router_pb2.StepStarted, sequence: int) -> events.StepStarted:
    return events.StepStarted(
        sequence, message.step_index, message.step, message.model, message.attempt_id
    )


def _tool_call_delta(message: router_pb2.ToolCallDelta, sequence: int) -> events.ToolCallDelta:
    return events.ToolCallDelta(
        sequence=sequence,
        step_index=message.step_index,
        choice_index=message.choice_index,
        attempt_id=message.attempt_id,
        tool_call_index=message.tool_call_index,
        call_id=message.call_id,
        name=message.name,
        arguments_json=message.arguments_json,
    )


def _hop(message: router_pb2.Hop, sequence: int) -> events.Hop:
    return events.Hop(
        sequence=sequence,
        step_index=message.step_index,
        from_attempt_id=message.from_attempt_id,
        from_model=message.from_model,
        to_attempt_id=message.to_attempt_id,
        to_model=message.to_model,
        cause=_name(attempt_pb2.AttemptOutcome, message.cause, "ATTEMPT_OUTCOME_"),
        error=message.error,
    )


def _step_finished(message: router_pb2.StepFinished, sequence: int) -> events.StepFinished:
    output: dict[str, Any] | None = None
    if message.HasField("output"):
        output = json_format.MessageToDict(message.output)
    return events.StepFinished(
        sequence=sequence,
        step_index=message.step_index,
        step=message.step,
        skipped=message.skipped,
        model=message.model,
        output=output,
        finish_reason=_name(router_pb2.FinishReason, message.finish_reason, "FINISH_REASON_"),
    )


def _finished(message: router_pb2.Finished, sequence: int) -> events.Finished:
    return events.Finished(
        sequence=sequence,
        record_id=message.record_id,
        finish_reason=_name(router_pb2.FinishReason, message.finish_reason, "FINISH_REASON_"),
        model=message.model,
        provider=message.provider,
        usage=_usage(message.usage),
        cost_usd_nanos=message.cost_usd_nanos,
        price_unknown=message.price_unknown,
        decision=_decision(message.decision),
        attempts=tuple(_attempt(attempt) for attempt in message.attempts),
        warnings=tuple(message.warnings),
        added_ns=message.added_ns,
    )


def _attempt(message: attempt_pb2.Attempt) -> events.Attempt:
    return events.Attempt(
        attempt_id=message.attempt_id,
        model=message.model,
        provider=message.provider,
        outcome=_name(attempt_pb2.AttemptOutcome, message.outcome, "ATTEMPT_OUTCOME_"),
        error=message.error,
        usage=_usage(message.usage),
        cost_usd_nanos=message.cost_usd_nanos,
        held_usd_nanos=message.held_usd_nanos,
        first_token_ns=message.first_token_ns,
        total_ns=message.total_ns,
        step_index=message.step_index,
        provider_response_id=message.provider_response_id,
        error_kind=message.error_kind,
    )


def _usage(message: usage_pb2.TokenUsage) -> events.TokenUsage:
    return events.TokenUsage(
        message.input_tokens,
        message.cached_input_tokens,
        message.cache_write_5m_input_tokens,
        message.cache_write_1h_input_tokens,
        message.output_tokens,
        message.reasoning_output_tokens,
        _name(usage_pb2.UsageSource, message.source, "USAGE_SOURCE_"),
    )


def _decision(message: decision_pb2.Decision) -> events.Decision:
    return events.Decision(
        effect=_name(decision_pb2.Effect, message.effect, "EFFECT_"),
        rules=tuple(_rule(rule) for rule in message.rules),
        exclusions=tuple(
            events.Exclusion(found.model, _rule(found.rule)) for found in message.exclusions
        ),
        candidates=tuple(message.candidates),
        output_tokens_max=message.output_tokens_max,
        redactions=tuple(
            events.Redaction(found.data_class, getattr(found, "with"), found.spans)
            for found in message.redactions
        ),
        snapshot_generation=message.snapshot_generation,
        data_classes=tuple(message.data_classes),
        usd_nanos_per_1k_tokens_max=message.usd_nanos_per_1k_tokens_max,
    )


def _rule(message: decision_pb2.RuleHit) -> events.RuleHit:
    return events.RuleHit(
        message.policy,
        message.rule,
        _name(decision_pb2.Effect, message.effect, "EFFECT_"),
        _name(decision_pb2.Mode, message.mode, "MODE_"),
        tuple(message.citations),
        message.error,
        message.message,
        message.approver,
    )


def _name(kind: Any, number: int, prefix: str) -> str:
    if number == 0:
        return ""
    value = kind.DESCRIPTOR.values_by_number.get(number)
    # A newer server may send a value that these stubs do not name: say its number, never fail.
    return value.name.removeprefix(prefix).lower() if value else str(number)
