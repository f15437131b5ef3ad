"""Between the Router's protos and the domain: a request becomes a `Call`, events become messages."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Struct

from harmost.core.chat import Call, Claims, FinishReason, Generation, Part
from harmost.core.errors import Forbidden, UnsupportedField, Violation
from harmost.core.messages.form import Field, Form
from harmost.core.otel.context import UNTRACED, TraceContext
from harmost.router.v1 import router_pb2
from harmost.services.convert.attempt import ATTEMPT, OUTCOMES
from harmost.services.convert.decision import decision_to_bytes
from harmost.services.convert.forms import form_of
from harmost.services.convert.usage import USAGE
from harmost.services.interceptors.principal import Principal
from harmost.services.router.content import (
    AnyRequest,
    embeds_of,
    generation_of,
    messages_of,
    part_to_bytes,
    texts_of,
)
from harmost.services.router.events import (
    Finished,
    Hop,
    MissionEvent,
    Started,
    StepFinished,
    StepStarted,
)

__all__ = ["call_of", "chat_response", "embed_response", "stream_response"]

_NOTHING_SAID = Claims()  # most calls: immutable, so one will do

_FINISH_REASONS: "Mapping[FinishReason, router_pb2.FinishReason.ValueType]" = {
    "stop": router_pb2.FINISH_REASON_STOP,
    "length": router_pb2.FINISH_REASON_LENGTH,
    "tool_calls": router_pb2.FINISH_REASON_TOOL_CALLS,
    "content_filter": router_pb2.FINISH_REASON_CONTENT_FILTER,
    "budget_exhausted": router_pb2.FINISH_REASON_BUDGET_EXHAUSTED,
    "provider_broke": router_pb2.FINISH_REASON_PROVIDER_BROKE,
}


def call_of(
    request: AnyRequest, *, principal: Principal, tenant: str, trace: TraceContext = UNTRACED
) -> Call:
    """The call that `request` means, charged to `tenant`; `trace` is where its caller stands.

    Raises `UnsupportedField` for what this version does not carry, `Forbidden` for a claim that the
    principal's tenant does not grant.
    """
    embeds = None
    if isinstance(request, router_pb2.EmbedRequest):
        messages, generation, embeds = texts_of(request), Generation(), embeds_of(request)
    elif request.conversation_id:
        raise UnsupportedField(
            "`conversation_id` is not carried by this version: leave it out",
            violations=[Violation("conversation_id", "is not carried by this version")],
        )
    else:
        messages, generation = messages_of(request), generation_of(request)
    return Call(
        profile=request.profile,
        tenant=tenant,
        principal=principal.name,
        messages=messages,
        generation=generation,
        claims=_claims(request.claims, principal) if request.HasField("claims") else _NOTHING_SAID,
        agent_id=request.agent_id,
        end_user_id=request.end_user_id,
        data_subject_id=request.data_subject_id,
        labels=dict(request.labels),
        idempotency_key=request.idempotency_key,
        traceparent=trace.parent,
        tracestate=trace.state,
        streamed=isinstance(request, router_pb2.StreamChatRequest),
        embeds=embeds,
    )


def stream_response(event: MissionEvent, sequence: int) -> bytes:
    """`event` as the message that carries it, serialized."""
    return _EVENTS[type(event)].write(_Told(sequence, event))


def chat_response(parts: tuple[Part, ...], finished: Finished) -> bytes:
    """A whole answer, serialized."""
    return _ANSWER.write(_Answer(parts, finished))


def embed_response(vectors: tuple[bytes, ...], finished: Finished) -> bytes:
    """Vectors, packed, and the end of their mission, serialized. What is packed is the wire's own form."""
    return _VECTORS.write(_Vectors(vectors, finished))


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


class _Vectors(NamedTuple):
    embeddings: tuple[bytes, ...]
    finished: Finished


class _Answer(NamedTuple):
    parts: tuple[Part, ...]
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
_ANSWER = form_of(
    router_pb2.ChatResponse,
    _Answer,
    how={"parts": part_to_bytes, "finished": _FINISHED},
)
_VALUES = Form(
    [Field(router_pb2.Embedding.DESCRIPTOR.fields_by_name["values"].number, "packed", "bytes")]
)


class _Packed(NamedTuple):
    packed: bytes


def _vector(packed: bytes) -> bytes:
    return _VALUES.write(_Packed(packed))


_VECTORS = form_of(
    router_pb2.EmbedResponse,
    _Vectors,
    how={"embeddings": _vector, "finished": _FINISHED},
)
