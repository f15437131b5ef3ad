"""The one interface to model providers: an answer is pulled in batches, errors are events.

    async with upstream.stream(endpoint, request, attempt_id=attempt_id) as answer:
        async for events in answer:
            ...

One batch is what one network read completes, so no task and no queue stands between a token and its
reader, and a slow reader slows the provider. Leaving the block early closes the connection at once.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import msgspec

from harmost.core.providers.codec import Event, UpstreamRequest
from harmost.core.usage import TokenUsage
from harmost.services.providers.endpoints import Endpoint

__all__ = ["Answer", "Billed", "Unavailable", "Upstream"]

Answer: TypeAlias = AsyncIterator[Sequence[Event]]


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider's own books say of one attempt that is over."""

    usage: TokenUsage
    cost_usd_nanos: int


class Unavailable(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's books could not be read, or the provider keeps none that can be asked."""

    message: str


class Upstream(Protocol):
    """Calls providers. Never raises for what a provider does: that is a `ProviderError` event."""

    def stream(
        self, endpoint: Endpoint, request: UpstreamRequest, *, attempt_id: str
    ) -> AbstractAsyncContextManager[Answer]:
        """One attempt. The last event of the last batch is an `Ended` or a `ProviderError`.

        Nothing is sent before the first batch is asked for. Timeouts are the provider's own
        (`ProviderSpec`); a caller's deadline is the caller's to enforce by leaving the block.
        `attempt_id` travels as `x-request-id`, so that the provider's books can be asked for it.
        """
        ...

    async def usage_lookup(
        self, endpoint: Endpoint, attempt_id: str
    ) -> Billed | Unavailable | None:
        """What `attempt_id` was billed; None: nothing, and nothing will be.

        Waits up to a second for an attempt that was just broken off to be closed in the books.
        """
        ...
