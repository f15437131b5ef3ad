"""An upstream client, the sandbox to call, and a server that writes raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from answer_twin import ParserTwin

from harmost.core.chat import Message
from harmost.core.providers.codec import Event, HttpRequest, ProviderError, UpstreamRequest
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint
from harmost.services.sandbox.server import SandboxServer
from harmost.services.upstream.client import UpstreamClient, upstream_client
from harmost.services.upstream.upstream import UpstreamCall

BASES = {"openai": "/openai/v1", "anthropic": "/anthropic"}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the Router runs on."""
    return {"uvloop": uvloop.new_event_loop}


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Recorder:
    """A sink that keeps everything, and holds the client to its promises."""

    def __init__(self) -> None:
        self.response: tuple[int, Mapping[str, str]] | None = None
        self.data: list[bytes] = []
        self.error: ProviderError | None = None
        self.began = asyncio.Event()
        self.over = asyncio.Event()
        self.on_first: Callable[[], None] | None = None

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        assert self.response is None
        assert not self.over.is_set()
        self.response = status, headers

    def on_data(self, data: bytes) -> None:
        assert self.response is not None
        assert data
        assert not self.over.is_set()
        self.data.append(data)
        self.began.set()
        if self.on_first is not None:
            on_first, self.on_first = self.on_first, None
            on_first()

    def on_end(self) -> None:
        assert self.response is not None
        assert not self.over.is_set()
        self.over.set()

    def on_error(self, error: ProviderError) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    @property
    def body(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.data)

    async def ended(self, timeout_s: float = 10) -> None:
        """Return at the end of the answer."""
        await asyncio.wait_for(self.over.wait(), timeout_s)


class Reader:
    """A sink that parses, as a Router does: events in batches."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.batches: list[list[Event]] = []
        self.call: UpstreamCall | None = None
        self.first = asyncio.Event()
        self.over = asyncio.Event()
        self._parser = ParserTwin(endpoint.codec)

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        assert status == 200

    def on_data(self, data: bytes) -> None:
        self._add(self._parser.feed(data))

    def on_end(self) -> None:
        self._add(self._parser.finish())
        self.over.set()

    def on_error(self, error: ProviderError) -> None:
        self._add([error])
        self.over.set()

    def _add(self, events: list[Event]) -> None:
        if not events or self.over.is_set():
            return
        self.batches.append(events)
        self.first.set()
        if type(events[-1]).__name__ in ("Ended", "ProviderError"):
            self.over.set()
            if self.call is not None:
                self.call.leave()


class Calls:
    """Calls one server through one client."""

    def __init__(self, upstream: UpstreamClient, port: int, **spec: Any) -> None:
        self.upstream = upstream
        self.port = port
        self.spec = spec

    def endpoint(self, vendor: str = "openai", *, at: str = "", **spec: Any) -> Endpoint:
        """The server as a provider, at one of its regions; timeouts that a busy machine keeps."""
        given = {
            "codec": vendor,
            "base_url": f"http://127.0.0.1:{self.port}{BASES[vendor]}",
            "usage_path": "/usage",
            "connect_timeout_ms": 5_000,
            "first_byte_timeout_ms": 5_000,
            "idle_timeout_ms": 2_000,
            **self.spec,
            **spec,
        }
        environment = {"SECRET": "very-secret"}
        whole = Endpoint.of("acme", ProviderSpec(**given), environment=environment)
        return whole.by_region()[at]

    def request(self, endpoint: Endpoint, knobs: str = "", *, text: str = "hi") -> HttpRequest:
        """A request that may tell the sandbox what to do."""
        text += f"[[sandbox {knobs}]]" * bool(knobs)
        return endpoint.codec.request(
            UpstreamRequest(
                vendor_model_id="sandbox-small",
                messages=(Message.of("user", text),),
                output_tokens_max=99,
            )
        )

    def open(
        self, knobs: str = "", *, attempt_id: str = "a", text: str = "hi", **spec: Any
    ) -> tuple[UpstreamCall, Recorder]:
        """One call, and what it gives."""
        endpoint = self.endpoint(**spec)
        recorder = Recorder()
        call = self.upstream.open(
            endpoint,
            self.request(endpoint, knobs, text=text),
            attempt_id=attempt_id,
            sink=recorder,
        )
        return call, recorder

    def read(
        self, knobs: str = "", *, attempt_id: str = "a", text: str = "hi", **spec: Any
    ) -> Reader:
        """One call whose answer is parsed."""
        endpoint = self.endpoint(**spec)
        reader = Reader(endpoint)
        reader.call = self.upstream.open(
            endpoint, self.request(endpoint, knobs, text=text), attempt_id=attempt_id, sink=reader
        )
        return reader

    async def batches(self, *arguments: Any, **options: Any) -> list[list[Event]]:
        """All that one attempt gives, by reads; a caller that is cancelled cancels."""
        reader = self.read(*arguments, **options)
        assert reader.call is not None
        try:
            await asyncio.wait_for(reader.over.wait(), 20)
        finally:
            if not reader.over.is_set():
                reader.call.cancel()
        return reader.batches

    async def events(self, *arguments: Any, **options: Any) -> list[Event]:
        """All that one attempt gives, in one list."""
        return [e for batch in await self.batches(*arguments, **options) for e in batch]


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamClient]:
    """A client."""
    async with upstream_client() as client:
        yield client


@pytest.fixture
async def calls(tmp_path: Path, upstream: UpstreamClient) -> AsyncIterator[Calls]:
    """Calls to a sandbox."""
    server = SandboxServer(tmp_path / "billing.jsonl")
    async with server.running("127.0.0.1", 0) as port:
        yield Calls(upstream, port)


@pytest.fixture
async def raw(upstream: UpstreamClient) -> AsyncIterator[Callable[[Behaviour], Awaitable[Calls]]]:
    """Calls to a server that does with each connection what a test says."""
    servers: list[asyncio.Server] = []

    async def serve(behaviour: Behaviour) -> Calls:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await behaviour(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        return Calls(upstream, server.sockets[0].getsockname()[1])

    yield serve
    upstream.close()
    for server in servers:
        server.close()
        await server.wait_closed()
