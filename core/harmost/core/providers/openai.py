"""Codec for OpenAI's chat.completions, which vLLM, Ollama, Azure v1 and others speak as well.

Source: openai/openai-openapi, `CreateChatCompletionRequest` and
`CreateChatCompletionStreamResponse`. Only the first choice. Reasoning in `reasoning_content` (DeepSeek,
vLLM) or `reasoning` (OpenRouter, Groq); nobody takes it back.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from harmost.core.chat import (
    FinishReason,
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    HttpRequest,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.failures import (
    broken,
    failure,
)
from harmost.core.providers.functions import function_call, function_tool, media_url
from harmost.core.providers.marks import marks
from harmost.core.providers.openai_errors import refused, stated_by_openai
from harmost.core.providers.reader import EventReader
from harmost.core.providers.usage.openai import ChatUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["OpenAiCodec", "OpenAiReader"]

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral's
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# How self-hosted servers say that they gave up inside an answer.
_GAVE_UP = frozenset({"abort", "error"})
_NO_ROOM = "insufficient_system_resource"  # DeepSeek's

_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: Annotated[int, msgspec.Meta(ge=0, lt=ANSWER_TOOL_CALLS_MAX)] | None = None
    id: str | None = None
    function: _Function | None = None


class _Piece(msgspec.Struct):
    """Of Mistral's content, where it is not words alone."""

    text: str | None = None
    thinking: "list[_Piece] | None" = None


class _Delta(msgspec.Struct):
    content: str | list[_Piece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Groq(msgspec.Struct):
    usage: ChatUsage | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] = []
    usage: ChatUsage | None = None
    x_groq: _Groq | None = None  # with the usage where it is not asked for
    error: Any = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)


class OpenAiCodec:
    """`POST /chat/completions`, streamed, with usage. The base URL ends with the API version."""

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """A picture that the provider keeps, a sound or a document elsewhere, have no form.

        Nor have reasoning, the mark of a result that the tool failed, and marks of what shall be
        cached (it caches by itself): they are left out.
        """
        parts = [part for message in messages for part in message.parts]
        drops = _all(map(_drop, parts))
        if marks(messages, generation):
            drops = (*drops, "cache")
        return Fit(lacks=_all(map(_lack, parts)), drops=drops)

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        return self.http(self.body(request))

    def body(self, request: UpstreamRequest) -> dict[str, object]:
        """What `request` asks, for `http`."""
        generation = request.generation
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "messages": [wire for m in request.messages for wire in _messages(m)],
            "max_completion_tokens": request.output_tokens_max,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if generation.temperature_permille is not None:
            body["temperature"] = generation.temperature_permille / 1000
        if generation.top_p_permille is not None:
            body["top_p"] = generation.top_p_permille / 1000
        if generation.stop:
            body["stop"] = generation.stop
        if generation.seed is not None:
            body["seed"] = generation.seed
        if generation.reasoning_effort:
            body["reasoning_effort"] = generation.reasoning_effort
        if generation.output_schema_json:
            body["response_format"] = _response_format(generation.output_schema_json)
        if generation.tools:
            body["tools"] = [function_tool(tool) for tool in generation.tools]
            body["tool_choice"] = _tool_choice(generation.tool_choice)
            if generation.tool_choice.one_at_a_time:
                body["parallel_tool_calls"] = False
        if request.service_tier != "standard":
            body["service_tier"] = request.service_tier
        return body

    def http(self, body: dict[str, object]) -> HttpRequest:
        """The request that carries `body`."""
        return HttpRequest(
            path="/chat/completions",
            headers={"content-type": "application/json", "accept": "text/event-stream"},
            body=msgspec.json.encode(body),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """A bearer token; none when `secret` is empty."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def reader(self) -> "OpenAiReader":
        """A fresh reader for the events of one streamed answer."""
        return OpenAiReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        return refused(status=status, headers=headers, body=body)


class OpenAiReader(EventReader[_Chunk]):
    """Reads one answer."""

    LAST = "[DONE]"

    def __init__(self) -> None:
        super().__init__(_chunk_decoder)
        self._finish: FinishReason | None = None
        self._calls = 0  # of tools, that have begun

    def _said_done(self, events: list[Event]) -> None:
        if self._finish is None:
            self._end(broken("the stream ended without a finish reason"), events)
        else:
            self._end(Ended(self._finish, self.response_id), events)

    def _take(self, chunk: _Chunk, events: list[Event]) -> None:
        if chunk.error is not None:
            self._end(stated_by_openai(chunk.error), events)
            return
        self.response_id = self.response_id or chunk.id or ""
        for choice in chunk.choices:
            self._choice(choice, events)
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage is not None and not self.over:
            self._usage(usage, events)

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        if choice.index != 0 or self.over:
            return
        if choice.delta is not None:
            self._said(choice.delta, events)
        if choice.finish_reason in _GAVE_UP:
            self._end(broken(f"the provider gave up: `{choice.finish_reason}`"), events)
        elif choice.finish_reason == _NO_ROOM:
            self._end(failure("overloaded", f"the provider gave up: `{_NO_ROOM}`"), events)
        elif choice.finish_reason is not None:
            # Self-hosted servers have reasons of their own for a whole answer, such as "eos".
            self._finish = _FINISH.get(choice.finish_reason, "stop")
            # Where the call was asked for by name, OpenAI itself says "stop".
            if self._calls and self._finish == "stop":
                self._finish = "tool_calls"

    def _said(self, delta: _Delta, events: list[Event]) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            events.append(ReasoningDelta(text=reasoning))
        if isinstance(delta.content, list):
            for piece in delta.content:
                _said_in_pieces(piece, events)
        elif text := delta.content or delta.refusal:
            events.append(TextDelta(text))
        for call in delta.tool_calls or ():
            if call.index is None and call.id and self._calls == ANSWER_TOOL_CALLS_MAX:
                self._end(broken("the answer asks for more tools than can be read"), events)
                return
            function = call.function or _Function()
            events.append(
                ToolCallDelta(
                    index=self._index(call),
                    call_id=call.id or "",
                    name=function.name or "",
                    arguments=function.arguments or "",
                )
            )

    def _index(self, call: _ToolCall) -> int:
        """Which of the answer's calls it is of. Look-alikes that leave it out begin each with its id."""
        if call.index is not None:
            self._calls = max(self._calls, call.index + 1)
            return call.index
        if call.id or not self._calls:
            self._calls += 1
        return self._calls - 1

    def _usage(self, usage: ChatUsage, events: list[Event]) -> None:
        try:
            # Some servers count along; the last word is exact.
            normal = usage.normal(exact=self._finish is not None)
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))


def _said_in_pieces(piece: _Piece, events: list[Event]) -> None:
    events.extend(ReasoningDelta(text=t.text) for t in piece.thinking or () if t.text)
    if piece.text:
        events.append(TextDelta(piece.text))


def _messages(message: Message) -> Iterator[dict[str, object]]:
    """A message in the vendor's form; several tools' results are a message each."""
    match message.role:
        case "tool":
            for part in message.parts:
                if isinstance(part, ToolResult):
                    yield {"role": "tool", "tool_call_id": part.call_id, "content": part.content}
        case "assistant":
            calls = [function_call(part) for part in message.parts if isinstance(part, ToolCall)]
            if calls:
                yield {"role": "assistant", "content": message.text or None, "tool_calls": calls}
            else:
                yield {"role": "assistant", "content": message.text}
        case _ if any(isinstance(part, Media) for part in message.parts):
            yield {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, Text) else _media(part)
                    for part in message.parts
                    if isinstance(part, Text | Media)
                ],
            }
        case _:
            yield {"role": message.role, "content": message.text}


def _all(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, names)))


def _drop(part: Part) -> str:
    if isinstance(part, Reasoning):
        return "reasoning"
    return "tool_result.is_error" if isinstance(part, ToolResult) and part.is_error else ""


def _lack(media: Part) -> str:
    """What chat.completions has no form for."""
    if not isinstance(media, Media):
        return ""
    if media.kind == "image":
        return "image.file_id" if media.file_id else ""
    if media.uri:
        return f"{media.kind}.uri"
    if media.kind == "file" or not media.file_id:
        return ""
    return "audio.file_id"


def _media(media: Media) -> dict[str, object]:
    match media.kind:
        case "image":
            return {"type": "image_url", "image_url": {"url": media_url(media)}}
        case "audio":
            audio_format = _AUDIO_FORMATS.get(media.media_type, media.media_type)
            data = b64encode(media.data).decode()
            return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format}}
        case "file" if media.file_id:
            return {"type": "file", "file": {"file_id": media.file_id}}
        case "file":
            return {"type": "file", "file": {"filename": "document", "file_data": media_url(media)}}


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(schema_json: str) -> dict[str, object]:
    """Not `strict`: that takes only schemas without optional fields, and refuses the others."""
    schema = {"name": "answer", "schema": msgspec.Raw(schema_json.encode())}
    return {"type": "json_schema", "json_schema": schema}
