"""What every vendor codec offers: a request as bytes, and a reader from a stream's events to ours.

Codecs are pure: no socket, no clock, no credentials. One file a wire format beside this one.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from harmost.core.chat import FinishReason, Generation, Message
from harmost.core.usage import TokenUsage

__all__ = [
    "AnswerReader",
    "Codec",
    "Ended",
    "Event",
    "Fit",
    "Framing",
    "HttpRequest",
    "ProviderError",
    "ProviderErrorKind",
    "ReasoningDelta",
    "TextDelta",
    "ToolCallDelta",
    "UpstreamRequest",
    "UsageReported",
    "framing",
]

# How a streamed answer is cut into events: `text/event-stream` (scan_sse), or AWS's own (scan_aws).
Framing = Literal["sse", "aws"]

ProviderErrorKind = Literal[
    "connect_failed",  # no connection, or it broke before the first byte
    "throttled",  # 429 for load: another attempt may follow
    "quota_exhausted",  # 429 or 402 for money: never retried on this provider
    "overloaded",  # 503, 529
    "timeout",  # 408, 504: it gave up on its own work
    "provider_error",  # other 5xx
    "rejected",  # other 4xx: the request itself is at fault
    "auth",  # 401, 403: our credentials are at fault
    "not_found",  # 404: it has no such model, or no such address
    "context_too_long",
    "content_filtered",
    "broken",  # broke off, or is no answer
    "stalled",  # silence for too long
]


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt in neutral form. `output_tokens_max` (> 0) is the cap that the provider enforces."""

    vendor_model_id: str
    messages: Sequence[Message]
    output_tokens_max: int
    generation: Generation = Generation()
    service_tier: str = "standard"


class Fit(NamedTuple):
    """What a wire format cannot say, by the names that `Generation` and `Message` have for it.

    `lacks`: content without which the request would be another one. `drops`: wishes that are left out.
    """

    lacks: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP POST: path below the provider's base URL, headers without credentials, body.

    The header `accept` names the media type that alone a good answer has.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the reasoning that is shown, or the seal that ends it."""

    text: str = ""
    signature: bytes = b""


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer's tool call `index`, from 0; id and name come with its first piece."""

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class UsageReported(msgspec.Struct, frozen=True):
    """The provider says what it bills so far. A later one replaces an earlier one."""

    usage: TokenUsage


class Ended(msgspec.Struct, frozen=True):
    """The answer is whole. `response_id` is the provider's own id, or empty."""

    finish_reason: FinishReason
    response_id: str = ""


class ProviderError(msgspec.Struct, frozen=True, kw_only=True):
    """The provider failed. `message` is for people and holds no secret; at most 500 characters."""

    kind: ProviderErrorKind
    message: str
    http_status: int = 0
    retry_after_s: float | None = None


Event: TypeAlias = (
    TextDelta | ToolCallDelta | ReasoningDelta | UsageReported | Ended | ProviderError
)


class AnswerReader(Protocol):
    """Reads one streamed answer, an event at a time. Never raises for what a provider sends."""

    over: bool  # it ended: an `Ended` or a `ProviderError` was given
    response_id: str  # the provider's own id, once known

    def take(self, data: bytes) -> list[Event]:
        """What the data of one event means. After the end nothing more comes."""
        ...

    def overflow(self) -> list[Event]:
        """An event is too large to be read: a `ProviderError`, unless it had ended."""
        ...

    def finish(self) -> list[Event]:
        """The body is over: nothing if it had ended, `Ended` in a format that says no more at its end,
        else a `ProviderError` of kind "broken".
        """
        ...


class Codec(Protocol):
    """One wire format. One whose streams are not `text/event-stream` says so in `framing`."""

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """What of them cannot be said in this format."""
        ...

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`."""
        ...

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """Headers that carry `secret`; none when it is empty."""
        ...

    def reader(self) -> AnswerReader:
        """A fresh reader for the events of one streamed answer."""
        ...

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer with an HTTP status other than 200 means. `headers` in lower case."""
        ...


def framing(codec: Codec) -> Framing:
    """How the answers of this format are framed."""
    stated: Framing = getattr(codec, "framing", "sse")
    return stated
