"""Reads Google's generateContent: chunks of an answer, and errors (google.rpc.Status in JSON).

Source: googleapis, google/ai/generativelanguage/v1beta/generative_service.proto; google/rpc/{status,
error_details}.proto; ai.google.dev, "Troubleshooting". A chunk is an answer of its own: parts are new,
usage counts along. Nothing ends the stream, and some models state a finish reason in every chunk: the
last one holds when the body is over.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from harmost.core.chat import FinishReason
from harmost.core.limits import ANSWER_TOOL_CALLS_MAX
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    ProviderErrorKind,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from harmost.core.providers.failures import UNREADABLE, broken, failure, stated
from harmost.core.providers.reader import EventReader
from harmost.core.providers.seals import GOOGLE
from harmost.core.providers.usage.gemini import GeminiUsage
from harmost.core.providers.usage.shape import ContradictoryUsage

__all__ = ["GeminiReader", "failed"]

_FINISH: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}

_KINDS: Mapping[str, ProviderErrorKind] = {
    "INVALID_ARGUMENT": "rejected",
    "FAILED_PRECONDITION": "rejected",
    "OUT_OF_RANGE": "rejected",
    "UNAUTHENTICATED": "auth",
    "PERMISSION_DENIED": "auth",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "throttled",
    "DEADLINE_EXCEEDED": "timeout",
    "UNAVAILABLE": "overloaded",
}


class _FunctionCall(msgspec.Struct):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: msgspec.Raw | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class _PromptFeedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: GeminiUsage | None = None
    response_id: str | None = None
    error: Any = None


class _ErrorBody(msgspec.Struct):
    error: Any = None


class _Violation(msgspec.Struct, rename="camel"):
    quota_id: str = ""


class _Detail(msgspec.Struct):
    reason: str = ""
    violations: list[_Violation] = []


_chunk_decoder = msgspec.json.Decoder(_Chunk)


class GeminiReader(EventReader[_Chunk]):
    """Reads one answer, whose body's end alone says that it is whole."""

    def __init__(self) -> None:
        super().__init__(_chunk_decoder)
        self._finish: _Candidate | None = None
        self._calls = 0  # of tools, that have come
        self._told: tuple[int | None, ...] = ()  # of the usage, that was passed on last

    def _last_word(self) -> Event:
        if self._finish is None:
            return broken("the stream ended without a finish reason")
        stated_reason = self._finish.finish_reason
        reason = _FINISH.get(stated_reason or "")
        if reason is None:
            told = f"the provider ended the answer with `{stated_reason}`"
            message = self._finish.finish_message
            return broken(f"{told}: {message}" if message else told)
        return Ended("tool_calls" if self._calls and reason == "stop" else reason, self.response_id)

    def _take(self, chunk: _Chunk, events: list[Event]) -> None:
        if chunk.error is not None:
            self._end(_stated(chunk.error, status=0, retry_after_s=None), events)
            return
        self.response_id = self.response_id or chunk.response_id or ""
        for candidate in chunk.candidates or ():
            if not candidate.index and not self.over:
                self._candidate(candidate, events)
        if chunk.usage_metadata is not None and not self.over:
            self._usage(chunk.usage_metadata, events)
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason and not self.over:
            told = f"the prompt was blocked: {feedback.block_reason}"
            message = f"{told} {feedback.block_reason_message or ''}"
            self._end(failure("content_filtered", message), events)

    def _candidate(self, candidate: _Candidate, events: list[Event]) -> None:
        if candidate.finish_reason not in (None, "", "FINISH_REASON_UNSPECIFIED"):
            self._finish = candidate
        for part in (candidate.content and candidate.content.parts) or ():
            if self.over:
                return
            self._part(part, events)

    def _part(self, part: _Part, events: list[Event]) -> None:
        if part.thought and part.text:
            events.append(ReasoningDelta(text=part.text))
        if part.thought_signature:
            events.append(ReasoningDelta(signature=GOOGLE + part.thought_signature.encode()))
        if part.function_call is not None:
            self._call(part.function_call, events)
        elif part.inline_data is not None:
            self._end(broken("the answer holds media, which cannot be passed on"), events)
        elif part.text and not part.thought:
            events.append(TextDelta(part.text))

    def _call(self, call: _FunctionCall, events: list[Event]) -> None:
        """A whole call. Where the vendor gives it no id, it gets one that no other answer's call has."""
        arguments = bytes(call.args).decode(errors="replace")
        arguments = "{}" if arguments == "null" else arguments
        if self._calls == ANSWER_TOOL_CALLS_MAX:
            self._end(broken("the answer asks for more tools than can be read"), events)
            return
        if not arguments.startswith("{"):
            self._end(broken("the arguments of a tool call are no object"), events)
            return
        events.append(
            ToolCallDelta(
                index=self._calls,
                call_id=call.id or f"call-{self.response_id}-{self._calls}",
                name=call.name or "",
                arguments=arguments,
            )
        )
        self._calls += 1

    def _usage(self, usage: GeminiUsage, events: list[Event]) -> None:
        """What is told in each chunk goes on where it says more than that another word has come."""
        told = (
            usage.prompt_token_count,
            usage.cached_content_token_count,
            usage.thoughts_token_count,
            usage.tool_use_prompt_token_count,
        )
        if self._finish is None and told == self._told:
            return
        self._told = told
        try:
            normal = usage.normal(exact=self._finish is not None)
        except ContradictoryUsage as error:
            self._end(broken(str(error)), events)
            return
        if normal is not None:
            events.append(UsageReported(normal))


def failed(body: bytes, *, status: int, retry_after_s: float | None) -> ProviderError:
    """What an answer with an HTTP status other than 200 means. A stream that is no SSE begins a list."""
    error: Any = None
    for form in (_ErrorBody, list[_ErrorBody]):
        try:
            read: Any = msgspec.json.decode(body, type=form)
        except UNREADABLE:
            continue
        one = read[0] if isinstance(read, list) and read else read  # pyright: ignore[reportUnknownVariableType]
        error = one.error if isinstance(one, _ErrorBody) else None
    return _stated(error, status=status, retry_after_s=retry_after_s)


def _stated(error: Any, *, status: int, retry_after_s: float | None) -> ProviderError:
    """`error` in the words that all vendors' are read in: its `status` is what others call `type`."""
    known: ProviderErrorKind | None = None
    if isinstance(error, dict):
        fields = cast("dict[str, Any]", error)
        details = fields.get("details")
        known = _kind_of_details(details)
        error = {"type": fields.get("status"), "message": fields.get("message"), "details": details}
    return stated(error, kinds=_KINDS, status=status, retry_after_s=retry_after_s, kind=known)


def _kind_of_details(details: Any) -> ProviderErrorKind | None:
    """A quota that names no day comes back, whatever its message says of plans and billing."""
    try:
        read = msgspec.convert(details, list[_Detail])
    except UNREADABLE:
        return None
    if any(detail.reason == "API_KEY_INVALID" for detail in read):
        return "auth"
    quotas = [one.quota_id.lower() for detail in read for one in detail.violations if one.quota_id]
    if any("perday" in quota for quota in quotas):
        return "quota_exhausted"
    return "throttled" if quotas else None
