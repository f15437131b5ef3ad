"""Between the Router's protos and the domain: a request becomes a `Call`, events become messages."""

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct

from harmost.core.chat import Call, Claims, FinishReason, Generation, Message, MessageRole
from harmost.core.errors import Forbidden, InvalidInput, UnsupportedField, Violation
from harmost.core.otel.context import UNTRACED, TraceContext
from harmost.router.v1 import router_pb2
from harmost.services.convert.attempt import attempt_to_proto, outcome_to_proto
from harmost.services.convert.decision import decision_to_bytes
from harmost.services.convert.usage import usage_to_proto
from harmost.services.interceptors.principal import Principal
from harmost.services.router.events import (
    Finished,
    Hop,
    MissionEvent,
    Started,
    StepFinished,
    StepStarted,
)

__all__ = ["AnyChatRequest", "call_of", "chat_response", "stream_response"]

AnyChatRequest = router_pb2.ChatRequest | router_pb2.StreamChatRequest

_AS_IT_IS = Generation()  # most calls leave both out: immutable, so one will do
_NOTHING_SAID = Claims()

_ROLES: Mapping[int, MessageRole] = {
    router_pb2.MESSAGE_ROLE_SYSTEM: "system",
    router_pb2.MESSAGE_ROLE_USER: "user",
    router_pb2.MESSAGE_ROLE_ASSISTANT: "assistant",
}

_FINISH_REASONS: "Mapping[FinishReason, router_pb2.FinishReason.ValueType]" = {
    "stop": router_pb2.FINISH_REASON_STOP,
    "length": router_pb2.FINISH_REASON_LENGTH,
    "tool_calls": router_pb2.FINISH_REASON_TOOL_CALLS,
    "content_filter": router_pb2.FINISH_REASON_CONTENT_FILTER,
    "budget_exhausted": router_pb2.FINISH_REASON_BUDGET_EXHAUSTED,
    "provider_broke": router_pb2.FINISH_REASON_PROVIDER_BROKE,
}


def call_of(
    request: AnyChatRequest, *, principal: Principal, tenant: str, trace: TraceContext = UNTRACED
) -> Call:
    """The call that `request` means, charged to `tenant`; `trace` is where its caller stands.

    Raises `UnsupportedField` for what this version does not carry, `Forbidden` for a claim that the
    principal's tenant does not grant.
    """
    _refuse_unsupported(request)
    return Call(
        profile=request.profile,
        tenant=tenant,
        principal=principal.name,
        messages=tuple(_message(m, index) for index, m in enumerate(request.messages)),
        generation=_generation(request.generation) if request.HasField("generation") else _AS_IT_IS,
        claims=_claims(request.claims, principal) if request.HasField("claims") else _NOTHING_SAID,
        agent_id=request.agent_id,
        end_user_id=request.end_user_id,
        data_subject_id=request.data_subject_id,
        labels=dict(request.labels),
        idempotency_key=request.idempotency_key,
        traceparent=trace.parent,
        tracestate=trace.state,
        streamed=isinstance(request, router_pb2.StreamChatRequest),
    )


def stream_response(event: MissionEvent, sequence: int) -> router_pb2.StreamChatResponse:
    """`event` as the message that carries it."""
    response = router_pb2.StreamChatResponse(sequence=sequence)
    match event:
        case Started():
            response.started.CopyFrom(_started(event))
            _tell_decision(response.started, event)
        case StepStarted():
            response.step_started.CopyFrom(_step_started(event))
        case Hop():
            response.hop.CopyFrom(_hop(event))
        case StepFinished():
            response.step_finished.CopyFrom(_step_finished(event))
        case Finished():
            response.finished.CopyFrom(_finished(event))
            _tell_decision(response.finished, event)
    return response


def chat_response(text: str, finished: Finished) -> router_pb2.ChatResponse:
    """A whole answer."""
    parts = [router_pb2.Part(text=text)] if text else []
    response = router_pb2.ChatResponse(parts=parts, finished=_finished(finished))
    _tell_decision(response.finished, finished)
    return response


def _refuse_unsupported(request: AnyChatRequest) -> None:
    if request.tools:
        raise _unsupported("tools")
    if request.conversation_id:
        raise _unsupported("conversation_id")
    if request.HasField("generation") and request.generation.output_schema_json:
        raise _unsupported("generation.output_schema_json")


def _generation(generation: router_pb2.Generation) -> Generation:
    has = generation.HasField
    return Generation(
        output_tokens_max=generation.output_tokens_max,
        temperature_permille=(
            generation.temperature_permille if has("temperature_permille") else None
        ),
        top_p_permille=generation.top_p_permille if has("top_p_permille") else None,
        stop=tuple(generation.stop),
        seed=generation.seed if has("seed") else None,
    )


def _message(message: router_pb2.Message, index: int) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise _unsupported(f"messages[{index}].role")
    for number, part in enumerate(message.parts):
        kind = part.WhichOneof("content")
        if kind is None:
            field = f"messages[{index}].parts[{number}]"
            raise InvalidInput(
                f"`{field}` is empty: set its text", violations=[Violation(field, "is empty")]
            )
        if kind != "text":
            raise _unsupported(f"messages[{index}].parts[{number}].{kind}")
    return Message(role, "".join(part.text for part in message.parts))


def _unsupported(field: str) -> UnsupportedField:
    return UnsupportedField(
        f"`{field}` is not carried by this version: leave it out",
        violations=[Violation(field, "is not carried by this version")],
    )


def _claims(claims: router_pb2.Claims, principal: Principal) -> Claims:
    for field, _ in claims.ListFields():
        if field.name not in principal.claims:
            raise Forbidden(
                f"`{principal.name}` may not state `claims.{field.name}`: "
                "grant it under `claims` of the principal in its Tenant document",
                details={"claim": field.name},
            )
    return Claims(
        purpose=claims.purpose,
        lawful_basis=claims.lawful_basis,
        subject_region=claims.subject_region,
        opt_outs=tuple(claims.opt_outs),
        significant_decision=claims.significant_decision,
        human_review=claims.human_review,
        data_classes=tuple(claims.data_classes),
    )


def _started(event: Started) -> router_pb2.Started:
    return router_pb2.Started(
        record_id=event.record_id,
        tenant=event.tenant,
    )


def _step_started(event: StepStarted) -> router_pb2.StepStarted:
    return router_pb2.StepStarted(
        step_index=event.step_index,
        step=event.step,
        model=event.model,
        attempt_id=event.attempt_id,
    )


def _hop(event: Hop) -> router_pb2.Hop:
    return router_pb2.Hop(
        step_index=event.step_index,
        from_attempt_id=event.from_attempt_id,
        from_model=event.from_model,
        to_attempt_id=event.to_attempt_id,
        to_model=event.to_model,
        cause=outcome_to_proto(event.cause),
        error=event.error,
    )


def _step_finished(event: StepFinished) -> router_pb2.StepFinished:
    message = router_pb2.StepFinished(
        step_index=event.step_index,
        step=event.step,
        skipped=event.skipped,
        model=event.model,
    )
    if event.finish_reason is not None:
        message.finish_reason = _FINISH_REASONS[event.finish_reason]
    if event.output is not None:
        output = Struct()
        output.update(dict(event.output))
        message.output.CopyFrom(output)
    return message


def _finished(event: Finished) -> router_pb2.Finished:
    record = event.record
    return router_pb2.Finished(
        record_id=record.record_id,
        finish_reason=_FINISH_REASONS[event.finish_reason],
        model=event.model,
        provider=event.provider,
        usage=usage_to_proto(record.usage),
        cost_usd_nanos=record.cost_usd_nanos,
        attempts=[attempt_to_proto(attempt) for attempt in record.attempts],
        warnings=event.warnings,
        price_unknown=event.price_unknown,
        added_ns=record.added_ns,
    )


def _tell_decision(
    message: router_pb2.Started | router_pb2.Finished, event: Started | Finished
) -> None:
    """Put the decision into `message` where it stands: a large one costs more to copy than to parse."""
    decision = event.decision if isinstance(event, Started) else event.record.decision
    if decision is not None:
        message.decision.ParseFromString(decision_to_bytes(decision))
