"""Between the Router's protos and the domain: a request becomes a `Call`, events become messages."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Struct

from harmost.core.chat import Call, Claims, FinishReason, Generation, Message, MessageRole
from harmost.core.errors import Forbidden, InvalidInput, UnsupportedField, Violation
from harmost.core.messages.form import Field, Form
from harmost.core.otel.context import UNTRACED, TraceContext
from harmost.router.v1 import router_pb2
from harmost.services.convert.attempt import ATTEMPT, OUTCOMES
from harmost.services.convert.decision import decision_to_bytes
from harmost.services.convert.forms import form_of
from harmost.services.convert.usage import USAGE
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


def stream_response(event: MissionEvent, sequence: int) -> bytes:
    """`event` as the message that carries it, serialized."""
    return _EVENTS[type(event)].write(_Told(sequence, event))


def chat_response(text: str, finished: Finished) -> bytes:
    """A whole answer, serialized."""
    return _ANSWER.write(_Answer((_Text(text),) if text else (), finished))


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


def _output(output: Mapping[str, Any]) -> bytes:
    struct = Struct()
    struct.update(dict(output))
    return struct.SerializeToString()


class _Told(NamedTuple):
    sequence: int
    event: MissionEvent


class _Text(NamedTuple):
    text: str


class _Answer(NamedTuple):
    parts: tuple[_Text, ...]
    finished: Finished


_FINISHED = form_of(
    router_pb2.Finished,
    Finished,
    names={
        name: f"record.{name}"
        for name in ("record_id", "usage", "cost_usd_nanos", "decision", "attempts", "added_ns")
    },
    how={
        "finish_reason": _FINISH_REASONS,
        "usage": USAGE,
        "decision": decision_to_bytes,
        "attempts": ATTEMPT,
    },
)
_FORMS: Mapping[type, tuple[str, Form]] = {
    Started: (
        "started",
        form_of(router_pb2.Started, Started, how={"decision": decision_to_bytes}),
    ),
    StepStarted: ("step_started", form_of(router_pb2.StepStarted, StepStarted)),
    Hop: ("hop", form_of(router_pb2.Hop, Hop, how={"cause": OUTCOMES})),
    StepFinished: (
        "step_finished",
        form_of(
            router_pb2.StepFinished,
            StepFinished,
            how={"finish_reason": _FINISH_REASONS, "output": _output},
        ),
    ),
    Finished: ("finished", _FINISHED),
}
_RESPONSE = router_pb2.StreamChatResponse.DESCRIPTOR.fields_by_name
_EVENTS: Mapping[type, Form] = {
    kind: Form(
        [
            Field(_RESPONSE["sequence"].number, "sequence", "int"),
            Field(_RESPONSE[name].number, "event", "message", how=form),
        ]
    )
    for kind, (name, form) in _FORMS.items()
}
_PART = router_pb2.Part.DESCRIPTOR.fields_by_name["text"].number
_ANSWER = form_of(
    router_pb2.ChatResponse,
    _Answer,
    how={"parts": Form([Field(_PART, "text", "text")]), "finished": _FINISHED},
)
