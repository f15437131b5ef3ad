"""Codec for Cohere's chat, version 2.

Source: cohere-ai/cohere-developer-experience, cohere-openapi.yaml, `/v2/chat`, and the page "Errors".
A tool plan is reasoning that is shown before calls; the thinking of models that reason is a kind of
content. Both are taken back.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    ToolResult,
)
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
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
from harmost.core.providers.failures import UNREADABLE, broken, failure, retry_after_s, stated
from harmost.core.providers.functions import function_call, function_tool, media_url
from harmost.core.providers.marks import marks
from harmost.core.providers.reader import EventReader
from harmost.core.providers.usage.cohere import CohereUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["CohereCodec", "CohereReader"]

STOP_SEQUENCES_MAX = 5  # "a list of up to 5 strings"
TEMPERATURE_PERMILLE_MAX = 1_000  # "temperature must be between 0 and 1.0 inclusive"
TOP_P_PERMILLE_MIN, TOP_P_PERMILLE_MAX = 10, 990  # "min value of 0.01, max value of 0.99"
# What part of the output may be thinking: the ratios that OpenRouter publishes for its own efforts.
# "high" has no budget, as the vendor advises.
_THINKING_PERCENT = {"low": 20, "medium": 50}

_CHOICES = {"auto": "", "none": "NONE", "required": "REQUIRED", "named": "REQUIRED"}

_FINISH: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
_GAVE_UP: Mapping[str, ProviderErrorKind] = {"ERROR": "provider_error", "TIMEOUT": "timeout"}

# Statuses that only this vendor has: a word on its deny list, and a call that it gave up itself.
_STATUSES: Mapping[int, ProviderErrorKind] = {498: "content_filtered", 499: "provider_error"}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    # Empty lists where the message begins, objects later.
    content: _Content | list[Any] | None = None
    tool_calls: _ToolCall | list[Any] | None = None
    tool_plan: str | None = None


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: CohereUsage | None = None
    error: str | None = None


class _Frame(msgspec.Struct):
    """Any event of the stream: new kinds may come, so their names are not an enumeration."""

    type: str = ""
    id: str | None = None
    index: int = 0
    delta: _Delta | None = None
    message: str | None = None  # of an error that is no event


class _ErrorBody(msgspec.Struct):
    message: str | None = None


_frame_decoder = msgspec.json.Decoder(_Frame)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


class CohereCodec:
    """`POST /v2/chat`, streamed. The base URL ends before the API version."""

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """Sounds and documents have no form, nor a schema beside tools, nor many stop sequences."""
        parts = [part for message in messages for part in message.parts]
        lacks = [lack for part in parts if (lack := _lack(part))]
        if generation.tools and generation.output_schema_json:
            lacks.append("output_schema_json with tools")
        if len(generation.stop) > STOP_SEQUENCES_MAX:
            lacks.append(f"stop of more than {STOP_SEQUENCES_MAX}")
        drops = [drop for part in parts if (drop := _drop(part))]
        if (generation.temperature_permille or 0) > TEMPERATURE_PERMILLE_MAX:
            drops.append("temperature_permille")
        if generation.top_p_permille is not None and not _is_top_p(generation.top_p_permille):
            drops.append("top_p_permille")
        if generation.tools and generation.tool_choice.one_at_a_time:
            drops.append("tool_choice.one_at_a_time")
        if marks(messages, generation):
            drops.append("cache")  # it caches by itself
        return Fit(lacks=tuple(dict.fromkeys(lacks)), drops=tuple(dict.fromkeys(drops)))

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        generation = request.generation
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "messages": [wire for m in request.messages for wire in _messages(m)],
            "max_tokens": request.output_tokens_max,
            "stream": True,
        }
        temperature_permille = generation.temperature_permille
        if temperature_permille is not None and temperature_permille <= TEMPERATURE_PERMILLE_MAX:
            body["temperature"] = temperature_permille / 1000
        if generation.top_p_permille is not None and _is_top_p(generation.top_p_permille):
            # All there is has no form, and left out it would be 0.75.
            body["p"] = min(generation.top_p_permille, TOP_P_PERMILLE_MAX) / 1000
        if generation.stop:
            body["stop_sequences"] = generation.stop
        if generation.seed is not None:
            body["seed"] = generation.seed
        if generation.reasoning_effort:
            body["thinking"] = _thinking(generation.reasoning_effort, request.output_tokens_max)
        if generation.output_schema_json:
            schema = msgspec.Raw(generation.output_schema_json.encode())
            body["response_format"] = {"type": "json_object", "json_schema": schema}
        if generation.tools:
            body["tools"] = [function_tool(tool) for tool in _offered(generation)]
            if choice := _CHOICES[generation.tool_choice.mode]:
                body["tool_choice"] = choice
        return HttpRequest(
            path="/v2/chat",
            headers={"content-type": "application/json", "accept": "text/event-stream"},
            body=msgspec.json.encode(body),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token; none when `secret` is empty."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def reader(self) -> "CohereReader":
        """A fresh reader for the events of one streamed answer."""
        return CohereReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        try:
            message = _error_decoder.decode(body).message
        except UNREADABLE:
            message = None
        kind = _STATUSES.get(status) or _kind_of_words(status, message or "")
        wait_s = retry_after_s(headers)
        if kind is None:
            return stated(message, kinds={}, status=status, retry_after_s=wait_s)
        words = message or "no reason given"
        return failure(kind, words, status=status, retry_after_s=wait_s)


class CohereReader(EventReader[_Frame]):
    """Reads one answer."""

    LAST = "message-end"

    def __init__(self) -> None:
        super().__init__(_frame_decoder)
        self._tools: dict[int, int] = {}  # the vendor's index → which of the answer's calls it is
        self._without_arguments = False  # of the call that is open

    def _said_done(self, events: list[Event]) -> None:
        pass  # of a look-alike: `message-end` is the end

    def _take(self, frame: _Frame, events: list[Event]) -> None:
        delta = frame.delta or _Delta()
        message = delta.message or _Message()
        match frame.type:
            case "content-delta" | "content-start":
                if isinstance(message.content, _Content):
                    _said(message.content, events)
            case "tool-plan-delta":
                if message.tool_plan:
                    events.append(ReasoningDelta(text=message.tool_plan))
            case "tool-call-start" | "tool-call-delta":
                if isinstance(message.tool_calls, _ToolCall):
                    self._called(frame.index, message.tool_calls, events)
            case "tool-call-end":
                if self._without_arguments and frame.index in self._tools:
                    self._without_arguments = False
                    events.append(ToolCallDelta(index=self._tools[frame.index], arguments="{}"))
            case "message-start":
                self.response_id = frame.id or ""
            case "message-end":
                self._finished(delta, events)
            case "" if frame.message is not None:
                self._end(stated(frame.message, kinds={}), events)
            case _:
                pass  # citations, ends of content, and kinds to come

    def _called(self, index: int, call: _ToolCall, events: list[Event]) -> None:
        if index not in self._tools and len(self._tools) >= ANSWER_TOOL_CALLS_MAX:
            self._end(broken("the answer asks for more tools than can be read"), events)
            return
        function = call.function or _Function()
        begins = index not in self._tools
        tool = self._tools.setdefault(index, len(self._tools))
        self._without_arguments = not function.arguments and (begins or self._without_arguments)
        events.append(
            ToolCallDelta(
                index=tool,
                call_id=call.id or "",
                name=function.name or "",
                arguments=function.arguments or "",
            )
        )

    def _finished(self, delta: _Delta, events: list[Event]) -> None:
        """What was used comes first: an answer that failed is billed, too."""
        reason = delta.finish_reason or ""
        try:
            usage = delta.usage.normal(exact=True) if delta.usage is not None else None
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if usage is not None:
            events.append(UsageReported(usage))
        if reason in _GAVE_UP:
            words = delta.error or f"the provider gave up: `{reason}`"
            self._end(failure(_GAVE_UP[reason], words), events)
        elif reason:
            self._end(Ended(_FINISH.get(reason, "stop"), self.response_id), events)
        else:
            self._end(broken(delta.error or "the stream ended without a finish reason"), events)


def _said(content: _Content, events: list[Event]) -> None:
    if content.thinking:
        events.append(ReasoningDelta(text=content.thinking))
    if content.text:
        events.append(TextDelta(content.text))


def _kind_of_words(status: int, message: str) -> ProviderErrorKind | None:
    """What only the words tell: 429 is also for keys whose calls of the month are used up."""
    words = message.lower()
    if status == 429 and "month" in words:
        return "quota_exhausted"
    # "max tokens must be less than …" is about the answer: another model may well have the room.
    return "context_too_long" if words.startswith("too many tokens") else None


def _lack(part: Part) -> str:
    if not isinstance(part, Media):
        return ""
    if part.kind == "image":
        return "image.file_id" if part.file_id else ""
    return part.kind


def _drop(part: Part) -> str:
    if isinstance(part, Reasoning) and not part.text:
        return "reasoning"  # hidden, and sealed by another vendor
    return "tool_result.is_error" if isinstance(part, ToolResult) and part.is_error else ""


def _is_top_p(permille: int) -> bool:
    return TOP_P_PERMILLE_MIN <= permille <= TOP_P_PERMILLE_MAX or permille == 1_000


def _thinking(effort: str, output_tokens_max: int) -> dict[str, object]:
    thinking: dict[str, object] = {"type": "disabled" if effort == "none" else "enabled"}
    if effort in _THINKING_PERCENT:
        percent = _THINKING_PERCENT[effort]
        thinking["token_budget"] = max(1, output_tokens_max * percent // 100)
    return thinking


def _offered(generation: Generation) -> Sequence[Tool]:
    """The tools. One cannot be asked for by name: then it is the only one there is."""
    choice = generation.tool_choice
    if choice.mode == "named":
        return [tool for tool in generation.tools if tool.name == choice.name]
    return generation.tools


def _messages(message: Message) -> Iterator[dict[str, object]]:
    """A message in the vendor's form; several tools' results are a message each."""
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield {"role": "tool", "tool_call_id": part.call_id, "content": part.content}
    elif message.role == "assistant":
        if said := _assistant(message):
            yield {"role": "assistant", **said}
    elif any(isinstance(part, Media) for part in message.parts):
        content = [_content(part) for part in message.parts if isinstance(part, Text | Media)]
        yield {"role": message.role, "content": content}
    else:
        yield {"role": message.role, "content": message.text}


def _assistant(message: Message) -> dict[str, object]:
    """What it said; empty: nothing is left. Before calls, its reasoning was their plan."""
    shown = [part for part in message.parts if isinstance(part, Reasoning) and part.text]
    calls = [function_call(part) for part in message.parts if isinstance(part, ToolCall)]
    said: dict[str, object] = {}
    if calls:
        said["tool_calls"] = calls
        if shown:
            said["tool_plan"] = "".join(part.text for part in shown)
        if message.text:
            said["content"] = message.text
    elif shown:
        thoughts = [{"type": "thinking", "thinking": part.text} for part in shown]
        words = [{"type": "text", "text": message.text}] if message.text else []
        said["content"] = thoughts + words
    elif any(isinstance(part, Text) for part in message.parts):
        said["content"] = message.text
    return said


def _content(part: Text | Media) -> dict[str, object]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": media_url(part)}}
