"""What a caller says, and the proto of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from harmost.client.parts import (
    CacheTtl,
    Media,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.router.v1 import router_pb2

__all__ = [
    "TIMEOUT_S",
    "Claims",
    "EmbedOptions",
    "Message",
    "Messages",
    "Options",
    "chat_request",
    "embed_request",
    "timeout_of",
]

TIMEOUT_S = 60.0

Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, router_pb2.MessageRole.ValueType] = {
    "system": router_pb2.MESSAGE_ROLE_SYSTEM,
    "user": router_pb2.MESSAGE_ROLE_USER,
    "assistant": router_pb2.MESSAGE_ROLE_ASSISTANT,
    "tool": router_pb2.MESSAGE_ROLE_TOOL,
}
_EFFORTS = {
    "": router_pb2.REASONING_EFFORT_UNSPECIFIED,
    "none": router_pb2.REASONING_EFFORT_NONE,
    "low": router_pb2.REASONING_EFFORT_LOW,
    "medium": router_pb2.REASONING_EFFORT_MEDIUM,
    "high": router_pb2.REASONING_EFFORT_HIGH,
}
_PURPOSES = {
    "": router_pb2.EMBED_PURPOSE_UNSPECIFIED,
    "document": router_pb2.EMBED_PURPOSE_DOCUMENT,
    "query": router_pb2.EMBED_PURPOSE_QUERY,
    "classification": router_pb2.EMBED_PURPOSE_CLASSIFICATION,
    "clustering": router_pb2.EMBED_PURPOSE_CLUSTERING,
}
_CHOICES = {
    "auto": router_pb2.TOOL_CHOICE_MODE_AUTO,
    "none": router_pb2.TOOL_CHOICE_MODE_NONE,
    "required": router_pb2.TOOL_CHOICE_MODE_REQUIRED,
}
_TTLS: dict[str, router_pb2.CacheTtl.ValueType] = {
    "5m": router_pb2.CACHE_TTL_FIVE_MINUTES,
    "1h": router_pb2.CACHE_TTL_ONE_HOUR,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: text, then further parts. `cache` marks the last of them."""

    role: Role
    text: str = ""
    parts: tuple[Part, ...] = ()
    cache: CacheTtl = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the caller states about the person or the purpose, where its `Tenant` grants it."""

    purpose: str = ""
    lawful_basis: str = ""
    subject_region: str = ""
    opt_outs: tuple[str, ...] = ()
    significant_decision: bool = False
    human_review: bool = False
    data_classes: tuple[str, ...] = ()


Messages = str | Message | Iterable[Message]


class Options(TypedDict, total=False):
    """What may be said beside profile and messages. What is left out is left to the profile.

    `timeout_s` is for the whole call, retries included; 60 unless told. Temperature and top_p are
    in thousandths, as everywhere in harmost.
    """

    tenant: str
    output_tokens_max: int
    temperature_permille: int
    top_p_permille: int
    stop: Iterable[str]
    seed: int
    reasoning_effort: Literal["none", "low", "medium", "high"]
    output_schema: Mapping[str, Any]
    tools: Iterable[Tool]
    tool_choice: ToolChoice
    claims: Claims
    agent_id: str
    end_user_id: str
    data_subject_id: str
    labels: Mapping[str, str]
    idempotency_key: str
    timeout_s: float


class EmbedOptions(TypedDict, total=False):
    """What may be said beside profile and texts; those that `Options` has too mean the same.

    `dimensions` 0: as many numbers as the model gives. `purpose`: what the vectors are for.
    """

    tenant: str
    dimensions: int
    purpose: Literal["document", "query", "classification", "clustering"]
    claims: Claims
    agent_id: str
    end_user_id: str
    data_subject_id: str
    labels: Mapping[str, str]
    idempotency_key: str
    timeout_s: float


Request = TypeVar("Request", router_pb2.ChatRequest, router_pb2.StreamChatRequest)


def chat_request(
    kind: type[Request], profile: str, messages: Messages, options: Options
) -> Request:
    """The request of `kind`; a lone string is one user message. Bounds are the server's to check."""
    request = kind(
        profile=profile,
        messages=[_message(message) for message in _conversation(messages)],
        tenant=options.get("tenant", ""),
        generation=_generation(options),
        agent_id=options.get("agent_id", ""),
        end_user_id=options.get("end_user_id", ""),
        data_subject_id=options.get("data_subject_id", ""),
        labels=options.get("labels", {}),
        idempotency_key=options.get("idempotency_key", ""),
    )
    request.tools.extend(_tool(tool) for tool in options.get("tools", ()))
    if "tool_choice" in options:
        request.tool_choice.CopyFrom(_tool_choice(options["tool_choice"]))
    if "claims" in options:
        request.claims.CopyFrom(_claims(options["claims"]))
    return request


def embed_request(
    profile: str, texts: str | Iterable[str], options: EmbedOptions
) -> router_pb2.EmbedRequest:
    """The request for vectors; a lone string is one text. Bounds are the server's to check."""
    request = router_pb2.EmbedRequest(
        profile=profile,
        inputs=[texts] if isinstance(texts, str) else texts,
        tenant=options.get("tenant", ""),
        dimensions=options.get("dimensions", 0),
        purpose=_PURPOSES[options.get("purpose", "")],
        agent_id=options.get("agent_id", ""),
        end_user_id=options.get("end_user_id", ""),
        data_subject_id=options.get("data_subject_id", ""),
        labels=options.get("labels", {}),
        idempotency_key=options.get("idempotency_key", ""),
    )
    if "claims" in options:
        request.claims.CopyFrom(_claims(options["claims"]))
    return request


def timeout_of(options: Options | EmbedOptions) -> float:
    """Seconds for the whole call, > 0."""
    timeout_s = options.get("timeout_s", TIMEOUT_S)
    if not timeout_s > 0:
        raise ValueError(f"timeout_s must be above 0: {timeout_s}")
    return timeout_s


def _conversation(messages: Messages) -> Iterable[Message]:
    if isinstance(messages, str):
        return (Message("user", messages),)
    return (messages,) if isinstance(messages, Message) else messages


def _message(message: Message) -> router_pb2.Message:
    if message.role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}: `{message.role}`")
    parts = [*([Text(message.text)] if message.text or not message.parts else []), *message.parts]
    said = router_pb2.Message(role=ROLES[message.role], parts=[_part(part) for part in parts])
    if message.cache:
        said.parts[-1].cache.CopyFrom(_cache(message.cache))
    return said


def _part(part: Part) -> router_pb2.Part:
    said = _content(part)
    if not isinstance(part, Reasoning) and part.cache:
        said.cache.CopyFrom(_cache(part.cache))
    return said


def _cache(ttl: CacheTtl) -> router_pb2.Cache:
    if ttl not in _TTLS:
        raise ValueError(f"cache must be one of {', '.join(_TTLS)}: `{ttl}`")
    return router_pb2.Cache(ttl=_TTLS[ttl])


def _content(part: Part) -> router_pb2.Part:
    match part:
        case Text(text):
            return router_pb2.Part(text=text)
        case ToolCall(call_id, name, arguments_json):
            call = router_pb2.ToolCall(call_id=call_id, name=name, arguments_json=arguments_json)
            return router_pb2.Part(tool_call=call)
        case ToolResult():
            result = router_pb2.ToolResult(
                call_id=part.call_id, content=part.content, is_error=part.is_error
            )
            return router_pb2.Part(tool_result=result)
        case Reasoning(text, signature):
            return router_pb2.Part(reasoning=router_pb2.Reasoning(text=text, signature=signature))
        case Media():
            return _media_part(part)


def _media_part(media: Media) -> router_pb2.Part:
    message = router_pb2.Media(media_type=media.media_type)
    if media.uri:
        message.uri = media.uri
    elif media.file_id:
        message.file_id = media.file_id
    else:
        message.data = media.data
    match media.kind:
        case "image":
            return router_pb2.Part(image=message)
        case "audio":
            return router_pb2.Part(audio=message)
        case "file":
            return router_pb2.Part(file=message)


def _tool(tool: Tool) -> router_pb2.Tool:
    return router_pb2.Tool(
        name=tool.name,
        description=tool.description,
        parameters_schema_json=json.dumps(dict(tool.parameters)) if tool.parameters else "",
        cache=_cache(tool.cache) if tool.cache else None,
    )


def _tool_choice(choice: ToolChoice) -> router_pb2.ToolChoice:
    return router_pb2.ToolChoice(
        mode=router_pb2.TOOL_CHOICE_MODE_NAMED if choice.name else _CHOICES[choice.mode],
        name=choice.name,
        one_at_a_time=choice.one_at_a_time,
    )


def _generation(options: Options) -> router_pb2.Generation:
    schema = options.get("output_schema")
    return router_pb2.Generation(
        output_tokens_max=options.get("output_tokens_max", 0),
        temperature_permille=options.get("temperature_permille"),
        top_p_permille=options.get("top_p_permille"),
        stop=tuple(options.get("stop", ())),
        seed=options.get("seed"),
        reasoning_effort=_EFFORTS[options.get("reasoning_effort", "")],
        output_schema_json=json.dumps(dict(schema)) if schema else "",
    )


def _claims(claims: Claims) -> router_pb2.Claims:
    return router_pb2.Claims(
        purpose=claims.purpose,
        lawful_basis=claims.lawful_basis,
        subject_region=claims.subject_region,
        opt_outs=claims.opt_outs,
        significant_decision=claims.significant_decision,
        human_review=claims.human_review,
        data_classes=claims.data_classes,
    )
