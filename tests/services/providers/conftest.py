"""An upstream, the sandbox to call, and a server that writes raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harmost.core.chat import Message
from harmost.core.providers.codec import Event, UpstreamRequest
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.aiohttp_upstream import AiohttpUpstream, aiohttp_upstream
from harmost.services.providers.endpoints import Endpoint
from harmost.services.sandbox.server import SandboxServer

BASES = {"openai": "/openai/v1", "anthropic": "/anthropic"}

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Calls:
    """Calls one server through one upstream."""

    def __init__(self, upstream: AiohttpUpstream, port: int) -> None:
        self.upstream = upstream
        self.port = port

    def endpoint(self, vendor: str = "openai", **spec: Any) -> Endpoint:
        """The server as a provider; short timeouts unless told otherwise."""
        given = {
            "codec": vendor,
            "base_url": f"http://127.0.0.1:{self.port}{BASES[vendor]}",
            "usage_path": "/usage",
            "connect_timeout_ms": 500,
            "first_byte_timeout_ms": 500,
            "idle_timeout_ms": 300,
            **spec,
        }
        environment = {"SECRET": "very-secret"}
        return Endpoint.of("acme", ProviderSpec(**given), environment=environment)

    def request(self, knobs: str = "", *, text: str = "hi") -> UpstreamRequest:
        """A request that may tell the sandbox what to do."""
        text += f"[[sandbox {knobs}]]" * bool(knobs)
        return UpstreamRequest(
            vendor_model_id="sandbox-small", messages=(Message("user", text),), output_tokens_max=99
        )

    async def batches(
        self, knobs: str = "", *, attempt_id: str = "a", text: str = "hi", **spec: Any
    ) -> list[list[Event]]:
        """All that one attempt gives."""
        request = self.request(knobs, text=text)
        endpoint = self.endpoint(**spec)
        async with self.upstream.stream(endpoint, request, attempt_id=attempt_id) as answer:
            return [list(events) async for events in answer]

    async def events(self, *arguments: Any, **options: Any) -> list[Event]:
        """All that one attempt gives, in one list."""
        return [e for batch in await self.batches(*arguments, **options) for e in batch]


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[Calls]:
    """Calls to a sandbox."""
    server = SandboxServer(tmp_path / "billing.jsonl")
    async with server.running("127.0.0.1", 0) as port, aiohttp_upstream() as upstream:
        yield Calls(upstream, port)


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[Behaviour], Awaitable[Calls]]]:
    """Calls to a server that does with each connection what a test says."""
    servers: list[asyncio.Server] = []

    async with aiohttp_upstream() as upstream:

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
    for server in servers:
        server.close()
        await server.wait_closed()
