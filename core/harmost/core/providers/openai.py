"""Codec for OpenAI's chat.completions, which vLLM, Ollama, Azure v1 and others speak as well.

Source: openai/openai-openapi, `CreateChatCompletionRequest` and
`CreateChatCompletionStreamResponse`. Only text, only the first choice.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from harmost.core.chat import FinishReason
from harmost.core.providers.codec import (
    Ended,
    Event,
    HttpRequest,
    ProviderError,
    ProviderErrorKind,
    TextDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.failures import (
    UNREADABLE,
    broken,
    retry_after_s,
    stated,
)
from harmost.core.providers.usage.openai import ChatUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["OpenAiCodec", "OpenAiReader"]

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# How self-hosted servers say that they gave up inside an answer.
_GAVE_UP = frozenset({"abort", "error"})

_KINDS: Mapping[str, ProviderErrorKind] = {
    "rate_limit_exceeded": "throttled",
    "rate_limit_error": "throttled",
    "slow_down": "throttled",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "invalid_request_error": "rejected",
    "model_not_found": "not_found",
}


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] = []
    usage: ChatUsage | None = None
    error: Any = None


class _ErrorBody(msgspec.Struct):
    error: Any = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_error_decoder = msgspec.json.Decoder(_ErrorBody)


class OpenAiCodec:
    """`POST /chat/completions`, streamed, with usage. The base URL ends with the API version."""

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        generation = request.generation
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "messages": [{"role": m.role, "content": m.text} for m in request.messages],
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
        if request.service_tier != "standard":
            body["service_tier"] = request.service_tier
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
        try:
            error = _error_decoder.decode(body).error
        except UNREADABLE:
            error = None
        return stated(error, kinds=_KINDS, status=status, retry_after_s=retry_after_s(headers))


class OpenAiReader:
    """Reads one answer, an event's data at a time; every fault becomes a `ProviderError`.

    `over`: it ended, and nothing more comes. `response_id`: the provider's own id, once known.
    """

    def __init__(self) -> None:
        self.over = False
        self.response_id = ""
        self._finish: FinishReason | None = None

    def take(self, data: bytes) -> list[Event]:
        """What one event of the stream means."""
        events: list[Event] = []
        if not self.over:
            self._take(data, events)
        return events

    def overflow(self) -> list[Event]:
        """An event is too large to be read."""
        return self._break_off("an event of the stream is larger than its bound")

    def finish(self) -> list[Event]:
        """The body is over: nothing if it had ended, else a `ProviderError` of kind "broken"."""
        return self._break_off("the stream ended before `[DONE]`")

    def _break_off(self, message: str) -> list[Event]:
        events: list[Event] = []
        if not self.over:
            self._end(broken(message), events)
        return events

    def _take(self, data: bytes, events: list[Event]) -> None:
        if data == b"[DONE]":
            if self._finish is None:
                self._end(broken("the stream ended without a finish reason"), events)
            else:
                self._end(Ended(self._finish, self.response_id), events)
            return
        try:
            chunk = _chunk_decoder.decode(data)
        except UNREADABLE as error:
            self._end(broken(f"the stream holds what is no chunk: {error}"), events)
            return
        if chunk.error is not None:
            self._end(stated(chunk.error, kinds=_KINDS), events)
            return
        self.response_id = self.response_id or chunk.id or ""
        for choice in chunk.choices:
            self._choice(choice, events)
        if chunk.usage is not None and not self.over:
            self._usage(chunk.usage, events)

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        if choice.index != 0 or self.over:
            return
        if choice.delta is not None:
            text = choice.delta.content or choice.delta.refusal
            if text:
                events.append(TextDelta(text))
        if choice.finish_reason in _GAVE_UP:
            self._end(broken(f"the provider gave up: `{choice.finish_reason}`"), events)
        elif choice.finish_reason is not None:
            # Self-hosted servers have reasons of their own for a whole answer, such as "eos".
            self._finish = _FINISH.get(choice.finish_reason, "stop")

    def _usage(self, usage: ChatUsage, events: list[Event]) -> None:
        try:
            # Some servers count along; the last word is exact.
            normal = usage.normal(exact=self._finish is not None)
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))

    def _end(self, event: Event, events: list[Event]) -> None:
        self.over = True
        events.append(event)
