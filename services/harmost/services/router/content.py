"""What a request says and an answer holds, between the Router's protos and the domain."""

import json
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from harmost.core.chat import (
    CacheTtl,
    EmbedPurpose,
    Embeds,
    Generation,
    Media,
    Message,
    MessageRole,
    Part,
    Reasoning,
    ReasoningEffort,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.errors import InvalidInput, Violation
from harmost.core.messages.form import Field, Form
from harmost.router.v1 import router_pb2

__all__ = [
    "AnyChatRequest",
    "AnyRequest",
    "embeds_of",
    "generation_of",
    "input_bytes",
    "messages_of",
    "part_to_bytes",
    "texts_of",
]

AnyChatRequest: TypeAlias = router_pb2.ChatRequest | router_pb2.StreamChatRequest
AnyRequest: TypeAlias = AnyChatRequest | router_pb2.EmbedRequest

_AS_IT_IS = Generation()  # most calls leave it out: immutable, so one will do

_ROLES: Mapping[int, MessageRole] = {
    router_pb2.MESSAGE_ROLE_SYSTEM: "system",
    router_pb2.MESSAGE_ROLE_USER: "user",
    router_pb2.MESSAGE_ROLE_ASSISTANT: "assistant",
    router_pb2.MESSAGE_ROLE_TOOL: "tool",
}
# Which role says what beside text. A tool says results alone.
_SAYS: Mapping[str, str] = {
    "image": "user",
    "audio": "user",
    "file": "user",
    "tool_call": "assistant",
    "reasoning": "assistant",
    "tool_result": "tool",
}
_TEXT = Form([Field(router_pb2.Part.DESCRIPTOR.fields_by_name["text"].number, "text", "text")])
_EFFORTS: Mapping[int, ReasoningEffort] = {
    router_pb2.REASONING_EFFORT_NONE: "none",
    router_pb2.REASONING_EFFORT_LOW: "low",
    router_pb2.REASONING_EFFORT_MEDIUM: "medium",
    router_pb2.REASONING_EFFORT_HIGH: "high",
}
_PURPOSES: Mapping[int, EmbedPurpose] = {
    router_pb2.EMBED_PURPOSE_UNSPECIFIED: "",
    router_pb2.EMBED_PURPOSE_DOCUMENT: "document",
    router_pb2.EMBED_PURPOSE_QUERY: "query",
    router_pb2.EMBED_PURPOSE_CLASSIFICATION: "classification",
    router_pb2.EMBED_PURPOSE_CLUSTERING: "clustering",
}
_TTLS: Mapping[int, CacheTtl] = {
    router_pb2.CACHE_TTL_UNSPECIFIED: "5m",
    router_pb2.CACHE_TTL_FIVE_MINUTES: "5m",
    router_pb2.CACHE_TTL_ONE_HOUR: "1h",
}


def messages_of(request: AnyChatRequest) -> tuple[Message, ...]:
    """The conversation. Raises InvalidInput, which names the part that is wrong."""
    return tuple(_message(message, index) for index, message in enumerate(request.messages))


def generation_of(request: AnyChatRequest) -> Generation:
    """How the answer is to be made. Raises InvalidInput for tools and schemas that are none."""
    asked = request.HasField("generation")
    if not asked and not request.tools and not request.HasField("tool_choice"):
        return _AS_IT_IS
    generation = request.generation
    has = generation.HasField
    schema = generation.output_schema_json
    if schema:
        schema = _object("generation.output_schema_json", schema)
    tools = tuple(_tool(tool, index) for index, tool in enumerate(request.tools))
    return Generation(
        output_tokens_max=generation.output_tokens_max,
        temperature_permille=(
            generation.temperature_permille if has("temperature_permille") else None
        ),
        top_p_permille=generation.top_p_permille if has("top_p_permille") else None,
        stop=tuple(generation.stop),
        seed=generation.seed if has("seed") else None,
        reasoning_effort=_EFFORTS.get(generation.reasoning_effort, ""),
        output_schema_json=schema,
        tools=tools,
        tool_choice=_tool_choice(request.tool_choice, [tool.name for tool in tools]),
    )


def texts_of(request: router_pb2.EmbedRequest) -> tuple[Message, ...]:
    """A message for each text that becomes a vector. Raises InvalidInput, which names an empty one."""
    for index, text in enumerate(request.inputs):
        if not text:
            raise _wrong(f"inputs[{index}]", "is empty, and has no vector: leave it out")
    return tuple(Message.of("user", text) for text in request.inputs)


def embeds_of(request: router_pb2.EmbedRequest) -> Embeds:
    """What vectors are wanted."""
    # INVARIANT: the gate refused any other purpose.
    return Embeds(dimensions=request.dimensions, purpose=_PURPOSES[request.purpose])


def input_bytes(request: AnyRequest) -> int:
    """Bytes of all that is said and shown, tools included: at least those of its texts and data."""
    if isinstance(request, router_pb2.EmbedRequest):
        return sum(len(text.encode()) for text in request.inputs)
    texts = sum(len(part.text.encode()) for m in request.messages for part in m.parts)
    others = sum(
        part.ByteSize() for m in request.messages for part in m.parts if not part.HasField("text")
    )
    return texts + others + sum(tool.ByteSize() for tool in request.tools)


def part_to_bytes(part: Part) -> bytes:
    """A part of an answer, serialized. A model answers with words, tool calls and reasoning."""
    match part:
        case Text():
            return _TEXT.write(part)
        case ToolCall(call_id, name, arguments_json):
            call = router_pb2.ToolCall(call_id=call_id, name=name, arguments_json=arguments_json)
            return router_pb2.Part(tool_call=call).SerializeToString()
        case Reasoning(text, signature):
            reasoning = router_pb2.Reasoning(text=text, signature=signature)
            return router_pb2.Part(reasoning=reasoning).SerializeToString()
        case Media() | ToolResult():
            raise TypeError(f"no answer holds a {type(part).__name__}")


def _message(message: router_pb2.Message, index: int) -> Message:
    role = _ROLES[message.role]  # INVARIANT: the gate refused any other
    parts = tuple(
        _part(part, role, f"messages[{index}].parts[{number}]")
        for number, part in enumerate(message.parts)
    )
    return Message(role, parts)


def _part(part: router_pb2.Part, role: MessageRole, field: str) -> Part:
    kind = part.WhichOneof("content")
    if kind is None:
        raise _wrong(field, "is empty: set its text or another content")
    if role == "tool" and kind != "tool_result":
        raise _wrong(f"{field}.{kind}", "is no result: a tool's message holds `tool_result` alone")
    if role != _SAYS.get(kind, role):
        raise _wrong(f"{field}.{kind}", f"is not said by `{role}`, but by `{_SAYS[kind]}`")
    cache = _mark(part, kind, field) if part.HasField("cache") else ""
    match kind:
        case "text":
            return Text(part.text, cache)
        case "tool_call":
            call = part.tool_call
            arguments = _object(f"{field}.tool_call.arguments_json", call.arguments_json or "{}")
            return ToolCall(call.call_id, call.name, arguments, cache)
        case "tool_result":
            result = part.tool_result
            return ToolResult(result.call_id, result.content, result.is_error, cache)
        case "reasoning":
            return Reasoning(part.reasoning.text, part.reasoning.signature)
        case "image" | "audio" | "file":
            return _media(kind, getattr(part, kind), f"{field}.{kind}", cache)


def _mark(part: router_pb2.Part, kind: str, field: str) -> CacheTtl:
    """How long it asks for. No provider takes a mark on reasoning, nor on text that says nothing."""
    if kind == "reasoning":
        raise _wrong(f"{field}.cache", "marks reasoning: mark the part before or after it")
    if kind == "text" and not part.text.strip():
        raise _wrong(f"{field}.cache", "marks a text without a word: mark the part before it")
    return _TTLS[part.cache.ttl]  # INVARIANT: the gate refused any other


def _media(
    kind: Literal["image", "audio", "file"], media: router_pb2.Media, field: str, cache: CacheTtl
) -> Media:
    source = media.WhichOneof("source")
    if source is None:
        raise _wrong(field, "has no source: set `data`, `uri` or `file_id`")
    if source == "data" and not media.media_type:
        raise _wrong(f"{field}.media_type", "is empty: say what the data is, such as image/png")
    if source == "uri" and not media.uri.startswith(("https://", "http://")):
        raise _wrong(f"{field}.uri", "is no https address: send what it means as `data`")
    return Media(
        kind=kind,
        media_type=media.media_type,
        data=media.data,
        uri=media.uri,
        file_id=media.file_id,
        cache=cache,
    )


def _tool(tool: router_pb2.Tool, index: int) -> Tool:
    cache = _TTLS[tool.cache.ttl] if tool.HasField("cache") else ""
    if not tool.parameters_schema_json:
        return Tool(tool.name, tool.description, cache=cache)
    schema = _object(f"tools[{index}].parameters_schema_json", tool.parameters_schema_json)
    return Tool(tool.name, tool.description, schema, cache)


def _tool_choice(choice: router_pb2.ToolChoice, tools: Iterable[str]) -> ToolChoice:
    known = list(tools)
    mode = choice.mode
    if mode == router_pb2.TOOL_CHOICE_MODE_NAMED and choice.name not in known:
        raise _wrong("tool_choice.name", f"`{choice.name}` is none of `tools`: name one of them")
    if mode == router_pb2.TOOL_CHOICE_MODE_REQUIRED and not known:
        raise _wrong("tool_choice.mode", "requires a tool, and there is none: send `tools`")
    match mode:
        case router_pb2.TOOL_CHOICE_MODE_NAMED:
            return ToolChoice("named", choice.name, choice.one_at_a_time)
        case router_pb2.TOOL_CHOICE_MODE_REQUIRED:
            return ToolChoice("required", "", choice.one_at_a_time)
        case router_pb2.TOOL_CHOICE_MODE_NONE:
            return ToolChoice("none", "", choice.one_at_a_time)
        case _:
            return ToolChoice("auto", "", choice.one_at_a_time)


def _object(field: str, text: str) -> str:
    """The JSON object in `text`, written plainly: no escape hides from a scan what it says."""
    try:
        value = json.loads(text)
        plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise _wrong(field, f"is no JSON object: {error}") from None
    if not isinstance(value, dict):
        raise _wrong(field, "is no JSON object: begin it with a brace")
    if not plain.isascii() and not _is_unicode(plain):
        raise _wrong(field, "is no JSON object: it holds half a surrogate pair")
    return plain


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"`{field}` {what}", violations=[Violation(field, what)])
