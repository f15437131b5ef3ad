"""Codec for Anthropic's messages.

Source: docs.anthropic.com, API reference "Messages", "Streaming" and "Versioning". Messages of one role
in a row go as they are: the API joins them. What shall be cached is marked by `cache_control`.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harmost.core.chat import (
    FinishReason,
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.closed import closed
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    HttpRequest,
    ProviderError,
    ProviderErrorKind,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.failures import (
    UNREADABLE,
    broken,
    retry_after_s,
    stated,
)
from harmost.core.providers.marks import with_marks_that_fit
from harmost.core.providers.reader import EventReader
from harmost.core.providers.seals import is_base64
from harmost.core.providers.usage.anthropic import AnthropicUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["VERSIONS", "AnthropicCodec", "AnthropicReader"]

# The first takes a key of its own header and sampling parameters, the second neither.
VERSIONS = ("2023-06-01", "2026-10-21")

_NO_WISHES = msgspec.structs.asdict(Generation())

_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_KINDS: Mapping[str, ProviderErrorKind] = {
    "invalid_request_error": "rejected",
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "quota_exhausted",
    "not_found_error": "not_found",
    "timeout_error": "timeout",
    "request_too_large": "context_too_long",
    "rate_limit_error": "throttled",
    "overloaded_error": "overloaded",
}


class _Message(msgspec.Struct):
    id: str | None = None
    usage: AnthropicUsage | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    thinking: str | None = None
    data: str | None = None


class _Frame(msgspec.Struct):
    """Any event of the stream: new kinds may come, so their names are not an enumeration."""

    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: AnthropicUsage | None = None
    error: Any = None


class _ErrorBody(msgspec.Struct):
    error: Any = None


_frame_decoder = msgspec.json.Decoder(_Frame)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


class AnthropicCodec:
    """`POST /v1/messages`, streamed. The base URL ends before the path; `version` is one of VERSIONS."""

    def __init__(self, version: str = VERSIONS[0]) -> None:
        self._version = version
        self._samples = version == VERSIONS[0]

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """Sounds have no form; there is no seed; reasoning is taken back under its seal alone.

        Reasoning and sampling have their rules (`_dropped`). Marks that do not fit are left out
        (marks.py).
        """
        parts = [part for message in messages for part in message.parts]
        drops = ["seed"] if generation.seed is not None else []
        drops += self._dropped(generation)
        if any(map(_is_unsealed, parts)):
            drops.append("reasoning")
        if with_marks_that_fit(messages, generation)[2]:
            drops.append("cache")
        sounds = any(isinstance(part, Media) and part.kind == "audio" for part in parts)
        return Fit(lacks=("audio",) if sounds else (), drops=tuple(drops))

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`; system messages become the one `system` text."""
        messages, generation, _ = with_marks_that_fit(request.messages, request.generation)
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "max_tokens": request.output_tokens_max,
            "messages": [said for m in messages if m.role != "system" and (said := _message(m))],
            "stream": True,
        }
        system = _system([m for m in messages if m.role == "system"])
        if system:
            body["system"] = system
        if dropped := self._dropped(generation):
            changed = {name: _NO_WISHES[name] for name in dropped}
            generation = msgspec.structs.replace(generation, **changed)
        if generation.temperature_permille is not None:
            body["temperature"] = generation.temperature_permille / 1000
        if generation.top_p_permille is not None:
            body["top_p"] = generation.top_p_permille / 1000
        if generation.stop:
            body["stop_sequences"] = generation.stop
        if generation.tools:
            body["tools"] = [_tool(tool) for tool in generation.tools]
            body["tool_choice"] = _tool_choice(generation.tool_choice)
        if generation.reasoning_effort:
            thinks = generation.reasoning_effort != "none"
            body["thinking"] = {"type": "adaptive" if thinks else "disabled"}
        if config := _output_config(generation):
            body["output_config"] = config
        return HttpRequest(
            path="/v1/messages",
            headers={
                "content-type": "application/json",
                "accept": "text/event-stream",
                "anthropic-version": self._version,
            },
            body=msgspec.json.encode(body),
        )

    def _dropped(self, generation: Generation) -> list[str]:
        """Wishes that it refuses: no reasoning where a tool is a must, and hardly any sampling with it.

        The later version has no sampling at all, the older takes temperatures of at the most 1.
        Source: "Extended thinking", feature compatibility.
        """
        dropped: list[str] = []
        thinks = generation.reasoning_effort not in ("", "none")
        if thinks and generation.tools and generation.tool_choice.mode in ("required", "named"):
            dropped.append("reasoning_effort")
            thinks = False
        hot, top_p = generation.temperature_permille, generation.top_p_permille
        if hot is not None and (hot > 1000 or (thinks and hot < 1000) or not self._samples):
            dropped.append("temperature_permille")
        if top_p is not None and ((thinks and top_p < 950) or not self._samples):
            dropped.append("top_p_permille")
        return dropped

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """The key as the version has it; none when `secret` is empty."""
        if not secret:
            return {}
        return {"x-api-key": secret} if self._samples else {"authorization": f"Bearer {secret}"}

    def reader(self) -> "AnthropicReader":
        """A fresh reader for the events of one streamed answer."""
        return AnthropicReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        try:
            error = _error_decoder.decode(body).error
        except UNREADABLE:
            error = None
        return stated(error, kinds=_KINDS, status=status, retry_after_s=retry_after_s(headers))


class AnthropicReader(EventReader[_Frame]):
    """Reads one answer."""

    LAST = "message_stop"

    def __init__(self) -> None:
        super().__init__(_frame_decoder)
        self._finish: FinishReason | None = None
        self._usage = AnthropicUsage()
        self._tools: dict[int, int] = {}  # a block's index → which of the answer's calls it is
        self._without_arguments = False  # of the call that is open

    def _take(self, frame: _Frame, events: list[Event]) -> None:
        match frame.type:
            case "content_block_delta":
                if frame.delta is not None:
                    self._said(frame.index, frame.delta, events)
            case "content_block_start":
                if frame.content_block is not None:
                    self._begun(frame.index, frame.content_block, events)
            case "content_block_stop":
                if self._without_arguments and frame.index in self._tools:
                    self._without_arguments = False
                    events.append(ToolCallDelta(index=self._tools[frame.index], arguments="{}"))
            case "message_start":
                if frame.message is not None:
                    self.response_id = frame.message.id or ""
                    self._report(frame.message.usage, events, exact=False)
            case "message_delta":
                if frame.delta is not None and frame.delta.stop_reason is not None:
                    self._finish = _FINISH.get(frame.delta.stop_reason, "stop")
                self._report(frame.usage, events, exact=True)
            case "message_stop":
                if self._finish is None:
                    self._end(broken("the stream ended without a stop reason"), events)
                else:
                    self._end(Ended(self._finish, self.response_id), events)
            case "error":
                self._end(stated(frame.error, kinds=_KINDS), events)
            case _:
                pass  # pings, block ends, and kinds to come

    def _begun(self, index: int, block: _Block, events: list[Event]) -> None:
        if block.text:
            events.append(TextDelta(block.text))
        elif block.type == "tool_use":
            if len(self._tools) >= ANSWER_TOOL_CALLS_MAX:
                self._end(broken("the answer asks for more tools than can be read"), events)
                return
            tool = self._tools.setdefault(index, len(self._tools))
            self._without_arguments = True
            events.append(ToolCallDelta(index=tool, call_id=block.id or "", name=block.name or ""))
        elif block.thinking:
            events.append(ReasoningDelta(text=block.thinking))
        elif block.type == "redacted_thinking" and block.data:
            events.append(ReasoningDelta(signature=block.data.encode()))

    def _said(self, index: int, delta: _Delta, events: list[Event]) -> None:
        if delta.text:
            events.append(TextDelta(delta.text))
        elif delta.partial_json and index in self._tools:
            self._without_arguments = False
            events.append(ToolCallDelta(index=self._tools[index], arguments=delta.partial_json))
        elif delta.thinking:
            events.append(ReasoningDelta(text=delta.thinking))
        elif delta.signature:
            events.append(ReasoningDelta(signature=delta.signature.encode()))

    def _report(self, usage: AnthropicUsage | None, events: list[Event], *, exact: bool) -> None:
        """Lay `usage` over what was said before; until the last word the output is not exact."""
        if usage is None:
            return
        self._usage.lay(usage)
        try:
            normal = self._usage.normal(exact=exact and usage.output_tokens is not None)
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))


def _is_unsealed(part: Part) -> bool:
    return isinstance(part, Reasoning) and not is_base64(part.signature)


def _system(messages: Sequence[Message]) -> str | list[dict[str, object]]:
    """The one text of `messages`, or where there are marks, blocks that end at them."""
    blocks: list[dict[str, object]] = []
    written = ""
    for message in messages:
        written += "\n\n" if written else ""
        for part in message.parts:
            if isinstance(part, Text):
                written += part.text
                if part.cache:
                    blocks.append({"type": "text", "text": written, **_mark(part)})
                    written = ""
    if blocks and written.strip():
        blocks.append({"type": "text", "text": written})
    return blocks or written


def _message(message: Message) -> dict[str, object] | None:
    """A message in the vendor's form: what tools answered is said by the user. None: nothing is left.

    Beside other parts a text without a word is refused, and models write such before they call tools.
    """
    role = "user" if message.role == "tool" else message.role
    if all(isinstance(part, Text) and not part.cache for part in message.parts):
        return {"role": role, "content": message.text}
    said = [part for part in message.parts if not (_is_unsealed(part) or _is_blank(part))]
    blocks = [_block(part) | _mark(part) for part in said]
    return {"role": role, "content": blocks} if blocks else None


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _mark(marked: Part | Tool) -> dict[str, object]:
    if isinstance(marked, Reasoning) or not marked.cache:
        return {}
    return {"cache_control": {"type": "ephemeral", "ttl": marked.cache}}


def _block(part: Part) -> dict[str, object]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Media():
            kind = "image" if part.kind == "image" else "document"
            return {"type": kind, "source": _source(part)}
        case ToolCall(call_id, name, arguments_json):
            arguments = msgspec.Raw(arguments_json.encode() or b"{}")
            return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        case ToolResult():
            result: dict[str, object] = {
                "type": "tool_result",
                "tool_use_id": part.call_id,
                "content": part.content,
            }
            if part.is_error:
                result["is_error"] = True
            return result
        case Reasoning(text, signature) if text:
            return {"type": "thinking", "thinking": text, "signature": signature.decode()}
        case Reasoning():
            return {"type": "redacted_thinking", "data": part.signature.decode()}


def _source(media: Media) -> dict[str, object]:
    if media.uri:
        return {"type": "url", "url": media.uri}
    if media.file_id:
        return {"type": "file", "file_id": media.file_id}
    data = b64encode(media.data).decode()
    return {"type": "base64", "media_type": media.media_type, "data": data}


def _tool(tool: Tool) -> dict[str, object]:
    wire: dict[str, object] = {
        "name": tool.name,
        "input_schema": msgspec.Raw(tool.parameters_schema_json.encode()),
    }
    if tool.description:
        wire["description"] = tool.description
    return wire | _mark(tool)


_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def _tool_choice(choice: ToolChoice) -> dict[str, object]:
    wire: dict[str, object] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        wire["name"] = choice.name
    if choice.one_at_a_time and choice.mode != "none":
        wire["disable_parallel_tool_use"] = True
    return wire


def _output_config(generation: Generation) -> dict[str, object]:
    config: dict[str, object] = {}
    if generation.reasoning_effort not in ("", "none"):
        config["effort"] = generation.reasoning_effort
    if generation.output_schema_json:
        schema = msgspec.Raw(closed(generation.output_schema_json).encode())
        config["format"] = {"type": "json_schema", "schema": schema}
    return config
