"""The one interface to model providers: an answer is pushed as it comes, errors are values.

    call = upstream.open(endpoint, http_request, attempt_id=attempt_id, sink=sink)

The sink is called from the event loop's own read callback, so no task and no queue stands between
a token and whoever takes it. After `on_end` or `on_error` a sink is never called again.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from harmost.core.providers.codec import HttpRequest, ProviderError
from harmost.core.usage import TokenUsage
from harmost.services.providers.endpoints import Endpoint

__all__ = ["Billed", "Sink", "Unavailable", "Upstream", "UpstreamCall"]


class Sink(Protocol):
    """Takes one answer: `on_response`, `on_data` any number of times, then `on_end` or `on_error`.

    An error may also come first. Never called inside `Upstream.open`. Must not block; may cancel,
    leave, pause or resume its call, and open another.
    """

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """A good answer begins: `status` is 200. Names of `headers` are in lower case."""
        ...

    def on_data(self, data: bytes) -> None:
        """Bytes of the body, without HTTP's own framing; not empty."""
        ...

    def on_end(self) -> None:
        """The body is whole, as HTTP sees it."""
        ...

    def on_error(self, error: ProviderError) -> None:
        """No answer, or no whole one. `error` never holds the endpoint's secret."""
        ...


class UpstreamCall(Protocol):
    """One call under way. Every method may be called at any time; after the end they do nothing."""

    def cancel(self) -> None:
        """Stop the provider in this turn of the loop. The sink is not called again."""
        ...

    def leave(self) -> None:
        """The answer has said its last: let HTTP end on its own, for a moment, to keep the
        connection; then cancel. The sink is not called again."""
        ...

    def pause(self) -> None:
        """Stop reading this answer, and no other. What is under way still comes: at most
        `limits.STREAM_WINDOW_BYTES` over HTTP/2, one read of the socket over HTTP/1.1.
        Silence is the reader's own meanwhile: only the total time counts."""
        ...

    def resume(self) -> None:
        """Read on after `pause`."""
        ...


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider's own books say of one attempt that is over."""

    usage: TokenUsage
    cost_usd_nanos: int


class Unavailable(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's books could not be read, or the provider keeps none that can be asked."""

    message: str


class Upstream(Protocol):
    """Calls providers. Never raises for what a provider does: that is a `ProviderError`."""

    def open(
        self, endpoint: Endpoint, http_request: HttpRequest, *, attempt_id: str, sink: Sink
    ) -> UpstreamCall:
        """Send `http_request` (from `endpoint.codec`) and push the answer to `sink`. O(1).

        Timeouts are the provider's own (`ProviderSpec`); the total counts from here. A caller's
        deadline is the caller's to enforce by `cancel`. An answer other than 200 of the media type
        that the request's `accept` names is read to a bound and becomes the codec's `ProviderError`. `attempt_id` travels as
        `x-request-id`, so that the provider's books can be asked for it.
        """
        ...

    async def usage_lookup(
        self, endpoint: Endpoint, attempt_id: str
    ) -> Billed | Unavailable | None:
        """What `attempt_id` was billed; None: nothing, and nothing will be.

        Waits up to a second for an attempt that was just broken off to be closed in the books.
        """
        ...
