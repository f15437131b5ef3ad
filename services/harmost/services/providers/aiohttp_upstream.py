"""`Upstream` over aiohttp: one session for all providers, HTTP/1.1, no redirects, no compression."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import msgspec

from harmost.core.limits import PROVIDER_ERROR_BYTES_MAX
from harmost.core.providers.codec import UpstreamRequest
from harmost.core.providers.failures import UNREADABLE, Tokens
from harmost.core.usage import TokenUsage
from harmost.services.providers.aiohttp_answer import AiohttpAnswer
from harmost.services.providers.endpoints import Endpoint
from harmost.services.providers.upstream import Answer, Billed, Unavailable

__all__ = ["AiohttpUpstream", "aiohttp_upstream"]

# A lookup waits this long in all, and asks this often while the provider is still closing its books.
_LOOKUP_TIMEOUT_S = 2.0
_LOOKUP_TRIES = 6
_LOOKUP_PAUSE_S = 0.02
# Longer than a vendor keeps an idle connection is useless, shorter costs handshakes.
_KEEPALIVE_S = 30.0


class _Books(msgspec.Struct):
    """Body of the usage endpoint, for 200 and for 404."""

    attempt_id: str
    status: str = ""
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost_usd_nanos: int = 0


_books_decoder = msgspec.json.Decoder(_Books)


class AiohttpUpstream:
    """Calls providers; see `Upstream`. Holds at most `connections_max` streams to each."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._slots: dict[tuple[str, int], asyncio.Semaphore] = {}

    def stream(
        self, endpoint: Endpoint, request: UpstreamRequest, *, attempt_id: str
    ) -> AbstractAsyncContextManager[Answer]:
        """One attempt, as `Upstream.stream` says."""
        return AiohttpAnswer(
            self._session, self._slot(endpoint), endpoint, request, attempt_id=attempt_id
        )

    def _slot(self, endpoint: Endpoint) -> asyncio.Semaphore:
        key = (endpoint.name, endpoint.spec.connections_max)
        return self._slots.setdefault(key, asyncio.Semaphore(endpoint.spec.connections_max))

    async def usage_lookup(
        self, endpoint: Endpoint, attempt_id: str
    ) -> Billed | Unavailable | None:
        """What `attempt_id` was billed, as `Upstream.usage_lookup` says."""
        if not endpoint.spec.usage_path:
            return Unavailable(message=f"provider `{endpoint.name}` keeps no books to ask")
        if endpoint.fault:
            return Unavailable(message=endpoint.fault)
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
                return await self._lookup(endpoint, attempt_id)
        except TimeoutError:
            return Unavailable(
                message=f"provider `{endpoint.name}` does not open its books in time"
            )
        except (aiohttp.ClientError, OSError, *UNREADABLE) as error:
            return Unavailable(
                message=f"provider `{endpoint.name}` shows no books: {type(error).__name__}"
            )

    async def _lookup(self, endpoint: Endpoint, attempt_id: str) -> Billed | Unavailable | None:
        for tries in range(_LOOKUP_TRIES):
            status, books = await self._books(endpoint, attempt_id)
            if books.attempt_id != attempt_id or status not in (200, 404):
                break
            if status == 404:
                return None
            if books.status != "open":
                return _billed(books)
            await asyncio.sleep(_LOOKUP_PAUSE_S * 2**tries)
        else:
            return Unavailable(message=f"attempt `{attempt_id}` is still open in the books")
        # A 404 that does not name the attempt is a wrong path, not "never billed".
        return Unavailable(message=f"provider `{endpoint.name}` answers {status} to a usage lookup")

    async def _books(self, endpoint: Endpoint, attempt_id: str) -> tuple[int, _Books]:
        spec = endpoint.spec
        async with self._session.get(
            f"{spec.base_url.rstrip('/')}{spec.usage_path}/{attempt_id}",
            headers=endpoint.headers,
            allow_redirects=False,
        ) as response:
            body = await response.content.read(PROVIDER_ERROR_BYTES_MAX)
            if response.status not in (200, 404):
                return response.status, _Books(attempt_id="")
            return response.status, _books_decoder.decode(body)


def _billed(books: _Books) -> Billed:
    return Billed(
        usage=TokenUsage(input_tokens=books.input_tokens, output_tokens=books.output_tokens),
        cost_usd_nanos=books.cost_usd_nanos,
    )


@asynccontextmanager
async def aiohttp_upstream() -> AsyncGenerator[AiohttpUpstream, None]:
    """An upstream with a session of its own; every connection is closed when the block ends."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"user-agent": "harmost"},
    ) as session:
        yield AiohttpUpstream(session)
