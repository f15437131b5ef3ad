"""Codec for Converse of Amazon Bedrock.

Source: botocore, bedrock-runtime/2023-09-30/service-2.json, `ConverseStream`; AWS, "Amazon Bedrock
User Guide", "Using the Converse API". What is said is written by bedrock_content.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from harmost.core.chat import FinishReason, Generation, Message
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.bedrock_content import body, fit
from harmost.core.providers.codec import (
    Ended,
    Event,
    Fit,
    Framing,
    HttpRequest,
    ProviderError,
    ProviderErrorKind,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UpstreamRequest,
    UsageReported,
)
from harmost.core.providers.failures import UNREADABLE, broken, retry_after_s, stated
from harmost.core.providers.reader import EventReader
from harmost.core.providers.usage.bedrock import BedrockUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["BedrockCodec", "BedrockReader"]

_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
# The model said what is no answer. It is billed.
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})

# By the name of the exception, without the letters' case: in a stream it begins with a small one.
_KINDS: Mapping[str, ProviderErrorKind] = {
    "accessdeniedexception": "auth",
    "expiredtokenexception": "auth",
    "internalserverexception": "provider_error",
    "modelerrorexception": "provider_error",
    "modelnotreadyexception": "overloaded",  # 429, though nobody asked too often
    "modelstreamerrorexception": "provider_error",
    "modeltimeoutexception": "timeout",
    "resourcenotfoundexception": "not_found",
    "servicequotaexceededexception": "quota_exhausted",  # 400
    "serviceunavailableexception": "overloaded",
    "throttlingexception": "throttled",
    "unrecognizedclientexception": "auth",
    "validationexception": "rejected",
}
# What a ValidationException is about stands in its words alone.
_INVALID: Mapping[str, ProviderErrorKind] = {
    "input is too long": "context_too_long",
    "prompt is too long": "context_too_long",
    "too many input tokens": "context_too_long",
    "exceed context limit": "context_too_long",
    "maximum context length": "context_too_long",
    "context window": "context_too_long",
    "input tokens exceed": "context_too_long",
    "model identifier is invalid": "not_found",
    "content filtering policy": "content_filtered",
}
_QUOTA_OF_THE_DAY = "tokens per day"  # of a ThrottlingException: no wait of a call's length helps


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: str = ""
    type: str | None = None  # of a tool that the provider runs by itself


class _Reasoning(msgspec.Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None  # base64, handed back as it came


class _Block(msgspec.Struct, rename="camel"):
    """The beginning of a block, or a piece of it."""

    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Piece(msgspec.Struct, rename="camel"):
    content_block_index: int = 0
    start: _Block | None = None
    delta: _Block | None = None


class _Stop(msgspec.Struct, rename="camel"):
    stop_reason: str


class _Metadata(msgspec.Struct):
    usage: BedrockUsage | None = None


class _Frame(msgspec.Struct, rename="camel"):
    """A message of the stream, as scan_aws.pyi says; kinds to come have none of these members."""

    content_block_start: _Piece | None = None
    content_block_delta: _Piece | None = None
    content_block_stop: _Piece | None = None
    message_stop: _Stop | None = None
    metadata: _Metadata | None = None
    exception: dict[str, dict[str, Any]] | None = None


_frame_decoder = msgspec.json.Decoder(_Frame)
_error_decoder = msgspec.json.Decoder(dict[str, Any])


class BedrockCodec:
    """`POST /model/{id}/converse-stream`. The base URL ends with the host of the region's endpoint."""

    framing: Framing = "aws"

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """What of them Converse has no form for; see bedrock_content.py."""
        return fit(messages, generation)

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`; the id of the model stands in the path, encoded."""
        return HttpRequest(
            path=f"/model/{quote(request.vendor_model_id, safe='')}/converse-stream",
            headers={
                "content-type": "application/json",
                "accept": "application/vnd.amazon.eventstream",
            },
            body=msgspec.json.encode(body(request)),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """A Bedrock API key (`AWS_BEARER_TOKEN_BEDROCK`) as bearer token; none when it is empty."""
        return {"authorization": f"Bearer {secret}"} if secret else {}

    def reader(self) -> "BedrockReader":
        """A fresh reader for the messages of one streamed answer."""
        return BedrockReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        try:
            said = _error_decoder.decode(body)
        except UNREADABLE:
            said = {}
        name = headers.get("x-amzn-errortype") or said.get("__type") or ""
        # AWS's own header counts in milliseconds.
        hints = {"retry-after-ms": headers.get("x-amz-retry-after", ""), **headers}
        return _error(name, said, status=status, after_s=retry_after_s(hints))


def _error(
    name: object, said: Mapping[str, Any], *, status: int = 0, after_s: float | None = None
) -> ProviderError:
    """What an exception means: `name` may have a namespace before it and a URL behind it."""
    bare = name.partition(":")[0].rpartition("#")[2] if isinstance(name, str) else ""
    message = said.get("message") or said.get("Message")
    error = stated(
        {"code": bare, "message": message} if bare or message else None,
        kinds={},
        status=status,
        retry_after_s=after_s,
    )
    kind = _kind(bare.lower(), message.lower() if isinstance(message, str) else "")
    return error if kind is None else msgspec.structs.replace(error, kind=kind)


def _kind(name: str, message: str) -> ProviderErrorKind | None:
    if name == "validationexception":
        for words, kind in _INVALID.items():
            if words in message:
                return kind
    if name == "throttlingexception" and _QUOTA_OF_THE_DAY in message:
        return "quota_exhausted"
    return _KINDS.get(name)


class BedrockReader(EventReader[_Frame]):
    """Reads one answer, a message at a time. It has no `response_id`: the stream tells none."""

    LAST = "messageStop"

    def __init__(self) -> None:
        super().__init__(_frame_decoder)
        self._last: Ended | ProviderError | None = None  # once the model has stopped
        self._tools: dict[int, int] = {}  # a block's index → which of the answer's calls it is
        self._without_arguments: set[int] = set()  # blocks

    def _last_word(self) -> Event:
        # Usage comes behind the stop. Without it the answer is whole, and what it cost unknown.
        return self._last or super()._last_word()

    def _take(self, frame: _Frame, events: list[Event]) -> None:
        if frame.content_block_delta is not None:
            piece = frame.content_block_delta
            if piece.delta is not None:
                self._said(piece.content_block_index, piece.delta, events)
        elif frame.content_block_start is not None:
            piece = frame.content_block_start
            if piece.start is not None:
                self._begun(piece.content_block_index, piece.start, events)
        elif frame.content_block_stop is not None:
            self._stopped(frame.content_block_stop.content_block_index, events)
        elif frame.message_stop is not None:
            self._last = _end_of(frame.message_stop.stop_reason)
        elif frame.metadata is not None:
            self._report(frame.metadata.usage, events)
        elif frame.exception is not None:
            name = next(iter(frame.exception), "")
            self._end(_error(name, frame.exception.get(name, {})), events)

    def _begun(self, index: int, block: _Block, events: list[Event]) -> None:
        tool = block.tool_use
        if tool is None or tool.type is not None:
            return
        if len(self._tools) >= ANSWER_TOOL_CALLS_MAX:
            self._end(broken("the answer asks for more tools than can be read"), events)
            return
        call = self._tools.setdefault(index, len(self._tools))
        self._without_arguments.add(index)
        events.append(ToolCallDelta(index=call, call_id=tool.tool_use_id, name=tool.name))

    def _said(self, index: int, delta: _Block, events: list[Event]) -> None:
        if delta.text:
            events.append(TextDelta(delta.text))
        elif delta.tool_use is not None and delta.tool_use.input and index in self._tools:
            self._without_arguments.discard(index)
            events.append(ToolCallDelta(index=self._tools[index], arguments=delta.tool_use.input))
        elif delta.reasoning_content is not None:
            reasoning = delta.reasoning_content
            seal = reasoning.signature or reasoning.redacted_content or ""
            if reasoning.text or seal:
                events.append(ReasoningDelta(text=reasoning.text or "", signature=seal.encode()))

    def _stopped(self, index: int, events: list[Event]) -> None:
        if index in self._without_arguments:
            self._without_arguments.discard(index)
            events.append(ToolCallDelta(index=self._tools[index], arguments="{}"))

    def _report(self, usage: BedrockUsage | None, events: list[Event]) -> None:
        """The last event: what is billed. The answer ends with it, if the model had stopped."""
        try:
            normal = usage.normal(exact=self._last is not None) if usage is not None else None
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))
        if self._last is not None:
            self._end(self._last, events)


def _end_of(stop_reason: str) -> Ended | ProviderError:
    if stop_reason in _MALFORMED:
        return broken(f"the model's answer is malformed: `{stop_reason}`")
    return Ended(_FINISH.get(stop_reason, "stop"))
