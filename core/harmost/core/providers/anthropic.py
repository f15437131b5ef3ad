"""Codec for Anthropic's messages.

Source: docs.anthropic.com, API reference "Messages" and "Streaming", version 2023-06-01, the last
one that takes sampling parameters. Messages of one role in a row go as they are: the API joins them.
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
from harmost.core.providers.usage.anthropic import AnthropicUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["AnthropicCodec", "AnthropicReader"]

_VERSION = "2023-06-01"

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
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    text: str | None = None


class _Frame(msgspec.Struct):
    """Any event of the stream: new kinds may come, so their names are not an enumeration."""

    type: str
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
    """`POST /v1/messages`, streamed. The base URL ends before the API version."""

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`; system messages become the one `system` text."""
        generation = request.generation
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "max_tokens": request.output_tokens_max,
            "messages": [
                {"role": m.role, "content": m.text} for m in request.messages if m.role != "system"
            ],
            "stream": True,
        }
        system = "\n\n".join(m.text for m in request.messages if m.role == "system")
        if system:
            body["system"] = system
        if generation.temperature_permille is not None:
            body["temperature"] = generation.temperature_permille / 1000
        if generation.top_p_permille is not None:
            body["top_p"] = generation.top_p_permille / 1000
        if generation.stop:
            body["stop_sequences"] = generation.stop
        return HttpRequest(
            path="/v1/messages",
            headers={
                "content-type": "application/json",
                "accept": "text/event-stream",
                "anthropic-version": _VERSION,
            },
            body=msgspec.json.encode(body),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """The key as `x-api-key`; none when `secret` is empty."""
        return {"x-api-key": secret} if secret else {}

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


class AnthropicReader:
    """Reads one answer, an event's data at a time; every fault becomes a `ProviderError`.

    `over`: it ended, and nothing more comes. `response_id`: the provider's own id, once known.
    """

    def __init__(self) -> None:
        self.over = False
        self.response_id = ""
        self._finish: FinishReason | None = None
        self._usage = AnthropicUsage()

    def take(self, data: bytes) -> list[Event]:
        """What one event of the stream means."""
        events: list[Event] = []
        if self.over:
            return events
        try:
            frame = _frame_decoder.decode(data)
        except UNREADABLE as error:
            self._end(broken(f"the stream holds what is no event: {error}"), events)
        else:
            self._take(frame, events)
        return events

    def overflow(self) -> list[Event]:
        """An event is too large to be read."""
        return self._break_off("an event of the stream is larger than its bound")

    def finish(self) -> list[Event]:
        """The body is over: nothing if it had ended, else a `ProviderError` of kind "broken"."""
        return self._break_off("the stream ended before `message_stop`")

    def _break_off(self, message: str) -> list[Event]:
        events: list[Event] = []
        if not self.over:
            self._end(broken(message), events)
        return events

    def _take(self, frame: _Frame, events: list[Event]) -> None:
        match frame.type:
            case "content_block_delta":
                if frame.delta is not None and frame.delta.text:
                    events.append(TextDelta(frame.delta.text))
            case "content_block_start":
                if frame.content_block is not None and frame.content_block.text:
                    events.append(TextDelta(frame.content_block.text))
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

    def _end(self, event: Event, events: list[Event]) -> None:
        self.over = True
        events.append(event)
