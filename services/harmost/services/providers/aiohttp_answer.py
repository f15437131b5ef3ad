"""One attempt over aiohttp: sends the request, pulls the answer, turns every fault into an event."""

import asyncio
import io
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from harmost.core.limits import PROVIDER_ERROR_BYTES_MAX
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    ResponseParser,
    UpstreamRequest,
)
from harmost.core.providers.failures import broken, failure
from harmost.services.providers.endpoints import Endpoint

__all__ = ["AiohttpAnswer"]

# aiohttp writes a larger body from a file object only, so that it does not hold up the loop.
_BODY_BYTES_MAX = 512 * 1024
# After the last event the end of the body is near: waiting for it saves the connection.
_DRAIN_S = 0.05


class AiohttpAnswer:
    """Both the block of `Upstream.stream` and the iterator in it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        slot: asyncio.Semaphore,
        endpoint: Endpoint,
        request: UpstreamRequest,
        *,
        attempt_id: str,
    ) -> None:
        self._session = session
        self._slot = slot
        self._endpoint = endpoint
        self._request = request
        self._attempt_id = attempt_id
        self._parser: ResponseParser = endpoint.codec.parser()
        self._response: aiohttp.ClientResponse | None = None
        self._watch: _Watch | None = None
        self._holds_slot = False
        self._last: Event | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.stop()
        try:
            if self._response is not None:
                if kind is None and isinstance(self._last, Ended):
                    await _drain(self._response)
                # Where the body is not over, this closes the connection: the provider stops.
                self._response.close()
        finally:
            if self._holds_slot:
                self._slot.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Event]:
        if self._last is not None:
            raise StopAsyncIteration
        events = await self._guarded()
        last = events[-1]
        if isinstance(last, (Ended, ProviderError)):
            self._last = last
        if isinstance(last, ProviderError):
            events = [*events[:-1], self._without_secret(last)]
        return events

    async def _guarded(self) -> list[Event]:
        """The next batch; what goes wrong in the network becomes its only event."""
        try:
            if self._response is None:
                fault = await self._open()
                if fault is not None:
                    return [fault]
            return await self._read()
        except TimeoutError as error:
            if isinstance(error, aiohttp.ServerTimeoutError):
                return [failure("connect_failed", f"no connection in time to {self._name}")]
            return [failure("stalled", f"{self._name} is silent for too long")]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if self._watch is not None and self._watch.expired:
                return [failure("stalled", f"{self._name} is silent for too long")]
            # The class alone: a message may hold headers.
            what = type(error).__name__
            if self._response is None:
                return [failure("connect_failed", f"no answer from {self._name}: {what}")]
            return [broken(f"{self._name} broke off: {what}")]

    @property
    def _name(self) -> str:
        return f"provider `{self._endpoint.name}`"

    def _without_secret(self, error: ProviderError) -> ProviderError:
        secret = self._endpoint.secret
        if secret and secret in error.message:
            return msgspec.structs.replace(error, message=error.message.replace(secret, "[secret]"))
        return error

    async def _open(self) -> ProviderError | None:
        """Send the request; an error unless an event stream comes back."""
        endpoint, spec = self._endpoint, self._endpoint.spec
        if endpoint.fault:
            return failure("auth", endpoint.fault)
        try:
            async with asyncio.timeout(spec.connect_timeout_ms / 1000):
                await self._slot.acquire()
        except TimeoutError:
            return failure(
                "connect_failed", f"all {spec.connections_max} connections of {self._name} are busy"
            )
        self._holds_slot = True
        started_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(spec.first_byte_timeout_ms / 1000):
            self._response = response = await self._post()
        if response.status != 200 or response.content_type != "text/event-stream":
            return await self._refusal(response)
        self._watch = _Watch(
            response,
            first_byte_at_s=started_s + spec.first_byte_timeout_ms / 1000,
            over_at_s=started_s + spec.total_timeout_ms / 1000,
            idle_s=spec.idle_timeout_ms / 1000,
        )
        return None

    async def _post(self) -> aiohttp.ClientResponse:
        endpoint, spec = self._endpoint, self._endpoint.spec
        request = endpoint.codec.request(self._request)
        body = request.body
        return await self._session.post(
            spec.base_url.rstrip("/") + request.path,
            data=body if len(body) <= _BODY_BYTES_MAX else io.BytesIO(body),
            headers={
                **request.headers,
                **endpoint.headers,
                "x-request-id": self._attempt_id,
            },
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=spec.connect_timeout_ms / 1000),
        )

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        """What an answer that is no stream says; only its beginning is read."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._endpoint.spec.idle_timeout_ms / 1000):
                while len(body) < PROVIDER_ERROR_BYTES_MAX:
                    data = await response.content.read(PROVIDER_ERROR_BYTES_MAX - len(body))
                    if not data:
                        break
                    body += data
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass  # the status says enough
        headers = {name.lower(): value for name, value in response.headers.items()}
        return self._endpoint.codec.error(status=response.status, headers=headers, body=bytes(body))

    async def _read(self) -> list[Event]:
        """Read until at least one event is there."""
        assert self._response is not None
        assert self._watch is not None
        content, watch = self._response.content, self._watch
        while True:
            watch.waits()
            data = await content.readany()
            watch.rests()
            events = self._parser.feed(data) if data else self._parser.finish()
            if events:
                return events


class _Watch:
    """Closes a response that is silent for too long. One timer a stream, not one a read.

    Only waiting counts: a reader that is slow itself is not the provider's silence.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        first_byte_at_s: float,
        over_at_s: float,
        idle_s: float,
    ) -> None:
        self.expired = False
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._first_byte_at_s: float | None = first_byte_at_s
        self._over_at_s = over_at_s
        self._idle_s = idle_s
        self._deadline_s = over_at_s
        self._waiting = False
        self._timer_at_s = over_at_s
        self._timer = self._loop.call_at(over_at_s, self._look)

    def waits(self) -> None:
        """The reader waits from now on."""
        silent_at_s = self._first_byte_at_s or self._loop.time() + self._idle_s
        self._first_byte_at_s = None
        self._deadline_s = min(silent_at_s, self._over_at_s)
        self._waiting = True
        if self._deadline_s < self._timer_at_s:
            self._arm(self._deadline_s)

    def rests(self) -> None:
        """The reader has something to do."""
        self._waiting = False

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _arm(self, at_s: float) -> None:
        self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._loop.call_at(at_s, self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        if now_s >= self._over_at_s or (self._waiting and now_s >= self._deadline_s):
            self.expired = True
            self._response.close()  # wakes the reader
        elif self._waiting:
            self._arm(self._deadline_s)
        else:
            self._arm(min(now_s + self._idle_s, self._over_at_s))


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read what is left of a body that has said its last, for as long as it is worth it."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            while not response.content.at_eof():
                await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
