"""The `Upstream` on ngh2 and the event loop's own sockets: HTTP/2 and HTTP/1.1, pools by provider and region."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harmost.core.providers.codec import HttpRequest
from harmost.core.providers.failures import UNREADABLE, failure
from harmost.services.providers.endpoints import Endpoint

from .books import Books, Fetch, FetchFailed
from .call import Call
from .limits import LOOKUPS_MAX, TICK_S
from .pool import Pool
from .request import Request, Target
from .tls import TlsContexts
from .upstream import Billed, Sink, Unavailable
from .wheel import Wheel

__all__ = ["UpstreamClient", "upstream_client"]

# A lookup waits this long in all, and asks this often while the provider is still closing its books.
_LOOKUP_TIMEOUT_S = 2.0
_LOOKUP_TRIES = 6
_LOOKUP_PAUSE_S = 0.02

_Key = tuple[str, str, bool | str, int, bool]


class UpstreamClient:
    """Calls providers; see `Upstream`. Made by `upstream_client`; belongs to one event loop."""

    def __init__(self, tasks: asyncio.TaskGroup, tls: TlsContexts) -> None:
        self.loop = asyncio.get_running_loop()
        self.wheel = Wheel(self.loop, TICK_S)
        self.tls = tls
        self._tasks = tasks
        self._connects: set[asyncio.Task[None]] = set()
        self._pools: dict[_Key, Pool] = {}
        self._lookups: dict[str, asyncio.Semaphore] = {}  # by provider and region
        self._is_closed = False

    def open(
        self, endpoint: Endpoint, http_request: HttpRequest, *, attempt_id: str, sink: Sink
    ) -> Call:
        """One attempt, as `Upstream.open` says."""
        headers = {**http_request.headers, **endpoint.headers, "x-request-id": attempt_id}
        return self._start(
            self._call(endpoint, sink, wanted=_wanted(http_request)),
            method="POST",
            path=http_request.path,
            headers=headers,
            body=http_request.body,
        )

    async def usage_lookup(
        self, endpoint: Endpoint, attempt_id: str
    ) -> Billed | Unavailable | None:
        """What `attempt_id` was billed, as `Upstream.usage_lookup` says."""
        name = endpoint.title
        if not endpoint.spec.usage_path:
            return Unavailable(message=f"{name} keeps no books to ask")
        if endpoint.fault:
            return Unavailable(message=endpoint.fault)
        turn = self._lookups.setdefault(name, asyncio.Semaphore(LOOKUPS_MAX))
        try:
            async with turn, asyncio.timeout(_LOOKUP_TIMEOUT_S):
                return await self._lookup(endpoint, attempt_id)
        except TimeoutError:
            return Unavailable(message=f"{name} does not open its books in time")
        except FetchFailed as error:
            return Unavailable(message=f"{name} shows no books: {error}")
        except UNREADABLE as error:
            return Unavailable(message=f"{name} shows no books: {type(error).__name__}")

    # --- Host of the pools -----------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which never raises, until the client stops."""
        if self._is_closed:
            work.close()
            return
        task = self._tasks.create_task(work, name="upstream.connect")
        self._connects.add(task)
        task.add_done_callback(self._connects.discard)

    def empty(self, pool: Pool) -> None:
        """Forget `pool`: it holds nothing any more."""
        for key, known in self._pools.items():
            if known is pool:
                del self._pools[key]
                return

    @property
    def connections(self) -> int:
        """How many there are, to all providers."""
        return sum(len(pool) for pool in self._pools.values())

    def close(self) -> None:
        """Close everything; calls break."""
        self._is_closed = True
        for task in self._connects:
            task.cancel()
        for pool in list(self._pools.values()):
            pool.close()
        self.wheel.stop()

    # --- One call --------------------------------------------------------------------------------

    def _call(self, endpoint: Endpoint, sink: Sink, *, wanted: str = "") -> Call:
        return Call(endpoint, sink, wheel=self.wheel, loop=self.loop, wanted=wanted)

    def _start(
        self, call: Call, *, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Call:
        endpoint = call.endpoint
        error = None
        if endpoint.fault:
            error = failure("auth", endpoint.fault)
        elif self._is_closed:
            error = failure("connect_failed", "harmost stops")
        else:
            try:
                pool = self._pool(endpoint, books=method == "GET")
                request = _request(call, pool.target, method, path, headers, body)
            except ValueError as wrong:
                # urllib's messages may repeat the URL; ours name no value.
                message = f"{endpoint.title} cannot be called: {_reason(wrong)}"
                error = failure("connect_failed", message)
            else:
                call.start(pool, request)
                return call
        self.loop.call_soon(call.fail, error)
        return call

    def _pool(self, endpoint: Endpoint, *, books: bool) -> Pool:
        spec = endpoint.spec
        connections_max = LOOKUPS_MAX if books else spec.connections_max
        key = endpoint.name, spec.base_url, spec.http2, connections_max, books
        pool = self._pools.get(key)
        if pool is None:
            target = Target.of(spec.base_url)
            pool = self._pools[key] = Pool(
                self, endpoint.title, spec, target, connections_max=connections_max
            )
        pool.adopt(spec)
        return pool

    # --- Books -----------------------------------------------------------------------------------

    async def _lookup(self, endpoint: Endpoint, attempt_id: str) -> Billed | Unavailable | None:
        for tries in range(_LOOKUP_TRIES):
            status, books = await self._books(endpoint, attempt_id)
            if books.attempt_id != attempt_id or status not in (200, 404):
                break
            if status == 404:
                return None
            if books.status != "open":
                return books.billed()
            await asyncio.sleep(_LOOKUP_PAUSE_S * 2**tries)
        else:
            return Unavailable(message=f"attempt `{attempt_id}` is still open in the books")
        # A 404 that does not name the attempt is a wrong path, not "never billed".
        return Unavailable(message=f"{endpoint.title} answers {status} to a usage lookup")

    async def _books(self, endpoint: Endpoint, attempt_id: str) -> tuple[int, Books]:
        fetch = Fetch()
        fetch.call = call = self._start(
            self._call(endpoint, fetch),
            method="GET",
            path=f"{endpoint.spec.usage_path}/{attempt_id}",
            headers=endpoint.headers,
        )
        try:
            status, body = await fetch.result()
        finally:
            call.cancel()
        return status, Books.read(body) if status in (200, 404) else Books(attempt_id="")


def _request(
    call: Call, target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Request:
    """What is sent for `call`, with the credentials that it keeps from here on."""
    path = target.path + path
    headers = {"user-agent": "harmost", **headers}
    secret_headers = call.endpoint.credential.headers(
        call.grant,
        method=method,
        authority=target.authority,
        path=path,
        headers=headers,
        body=body,
    )
    return Request.of(
        target,
        method=method,
        path=path,
        headers=headers,
        secret_headers=secret_headers,
        body=body,
    )


def _wanted(request: HttpRequest) -> str:
    """The media type of a good answer."""
    return request.headers.get("accept", "text/event-stream")


def _reason(error: ValueError) -> str:
    """Why a request cannot be sent, without what was to be sent."""
    return str(error) if type(error) is ValueError and "'" not in str(error) else "wrong `base_url`"


@asynccontextmanager
async def upstream_client(*, ca_file: Path | None = None) -> AsyncGenerator[UpstreamClient, None]:
    """A client for the running loop; all its connections are closed when the block ends.

    `ca_file`: PEM roots to trust instead of the system's.
    """
    async with asyncio.TaskGroup() as tasks:
        client = UpstreamClient(tasks, TlsContexts(ca_file))
        try:
            yield client
        finally:
            client.close()
            await asyncio.sleep(0)  # aborted transports close in the next turn
