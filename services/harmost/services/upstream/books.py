"""What a provider's usage endpoint says of one attempt. Sends nothing: the client does."""

import asyncio
from collections.abc import Mapping

import msgspec

from harmost.core.limits import PROVIDER_ERROR_BYTES_MAX
from harmost.core.providers.codec import ProviderError
from harmost.core.providers.usage.shape import Tokens
from harmost.core.usage import TokenUsage

from .upstream import Billed, UpstreamCall

__all__ = ["Books", "Fetch", "FetchFailed"]


class Books(msgspec.Struct):
    """Body of the usage endpoint, for 200 and for 404."""

    attempt_id: str
    status: str = ""
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd_nanos: int = 0

    @classmethod
    def read(cls, body: bytes) -> "Books":
        """Decode `body`; raises what `core.providers.failures.UNREADABLE` names."""
        return _decoder.decode(body)

    def billed(self) -> Billed:
        """What was billed."""
        return Billed(
            usage=TokenUsage(input_tokens=self.input_tokens, output_tokens=self.output_tokens),
            cost_usd_nanos=self.cost_usd_nanos,
        )


_decoder = msgspec.json.Decoder(Books)


class FetchFailed(Exception):
    """The answer did not come; says why."""


class Fetch:
    """A sink that gathers a short answer, to a bound, for a coroutine that waits."""

    def __init__(self) -> None:
        self.call: UpstreamCall | None = None
        self._status = 0
        self._body = bytearray()
        self._error = ""
        # Holds no exception: that would hold the frames that hold this.
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def result(self) -> tuple[int, bytes]:
        """Status and body. Raises FetchFailed."""
        await self._done
        if self._error:
            raise FetchFailed(self._error)
        return self._status, bytes(self._body)

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep the status."""
        self._status = status

    def on_data(self, data: bytes) -> None:
        """Keep the bytes, to the bound."""
        self._body += data[: PROVIDER_ERROR_BYTES_MAX - len(self._body)]
        if len(self._body) >= PROVIDER_ERROR_BYTES_MAX and self.call is not None:
            self.call.cancel()
            self.on_end()

    def on_end(self) -> None:
        """Wake the coroutine."""
        if not self._done.done():
            self._done.set_result(None)

    def on_error(self, error: ProviderError) -> None:
        """Wake the coroutine."""
        if not self._done.done():
            self._error = error.message or error.kind
            self._done.set_result(None)
