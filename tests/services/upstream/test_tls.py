"""TLS to providers: ALPN chooses the protocol, certificates are checked, breaks are errors."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from certificates import certificate
from http2_server import END, ONE, Http2Server, Peer, whole

from harmost.core.providers.codec import Ended
from harmost.services.upstream.client import UpstreamClient, upstream_client

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def server_context(path: Path, protocols: list[str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    context.set_alpn_protocols(protocols)
    return context


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path, "127.0.0.1")


@pytest.fixture
async def trusting(pem: Path) -> AsyncIterator[UpstreamClient]:
    """A client that trusts the test's certificate."""
    async with upstream_client(ca_file=pem) as client:
        yield client


@pytest.fixture
async def serve(
    calls: Any, trusting: UpstreamClient, pem: Path
) -> AsyncIterator[Callable[..., Any]]:
    """Starts a server of HTTP/2 behind TLS; gives calls to it, and the server."""
    async with AsyncExitStack() as stack:

        async def started(handler: Callable[[Peer, int], None], **options: Any) -> Any:
            server = Http2Server(handler)
            path = options.pop("pem", pem)
            context = server_context(path, options.pop("protocols", ["h2"]))
            await stack.enter_async_context(server.running(context))
            client = options.pop("upstream", trusting)
            base_url = f"https://127.0.0.1:{server.port}/v1"
            spec = {"base_url": base_url, "connect_timeout_ms": 5_000, **options}
            return type(calls)(client, server.port, **spec), server

        yield started
        trusting.close()


async def test_http2_where_both_sides_know_it(serve: Any) -> None:
    calls, server = await serve(whole)
    answers = await asyncio.gather(*(calls.events(attempt_id=str(n)) for n in range(20)))
    assert all(isinstance(events[-1], Ended) for events in answers)
    assert [len(peer.headers) for peer in server.peers] == [20]
    assert dict(server.peers[0].headers[1])[b":scheme"] == b"https"


async def test_http2_that_is_wanted_is_not_replaced(serve: Any) -> None:
    calls, _ = await serve(whole, protocols=["http/1.1"], http2=True)
    _, recorder = calls.open()
    await recorder.ended()
    assert recorder.error.kind == "connect_failed"


@pytest.mark.parametrize(
    ("protocols", "http2"), [(["http/1.1"], "auto"), ([], "auto"), (["h2", "http/1.1"], False)]
)
async def test_http1_where_one_side_does_not(
    calls: Any, trusting: UpstreamClient, pem: Path, protocols: list[str], http2: bool | str
) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2"
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(size)
            body = ONE + END
            writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answers(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = server_context(pem, protocols) if protocols else server_context(pem, ["x"])
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    spec = {"base_url": f"https://127.0.0.1:{port}/v1", "http2": http2, "connect_timeout_ms": 5_000}
    calls = type(calls)(trusting, port, **spec)
    answered = await asyncio.gather(*(calls.events(attempt_id=str(n)) for n in range(5)))
    assert all(isinstance(events[-1], Ended) for events in answered)
    assert isinstance((await calls.events())[-1], Ended)
    assert 1 <= trusting.connections <= 5
    trusting.close()
    server.close()
    await server.wait_closed()


async def test_a_certificate_that_nobody_signed_is_refused(serve: Any, upstream: Any) -> None:
    calls, server = await serve(whole, upstream=upstream)
    _, recorder = calls.open(credentials="env:SECRET")
    await recorder.ended()
    assert recorder.error.kind == "connect_failed"
    assert "certificate refused: self-signed certificate" in recorder.error.message
    assert server.requests == 0


async def test_a_certificate_for_another_host_is_refused(
    calls: Any, tmp_path: Path, serve: Any
) -> None:
    other = certificate(tmp_path, "127.0.0.2")
    async with upstream_client(ca_file=other) as client:
        calls, server = await serve(whole, pem=other, upstream=client)
        _, recorder = calls.open(credentials="env:SECRET")
        await recorder.ended()
    assert "certificate refused: IP address mismatch" in recorder.error.message
    assert server.requests == 0


async def test_tls_that_breaks_in_the_middle_is_broken(serve: Any) -> None:
    def breaks(peer: Peer, stream_id: int) -> None:
        peer.answer(stream_id, ONE, end=False)

    calls, server = await serve(breaks)
    _, recorder = calls.open()
    await recorder.began.wait()
    sock = server.peers[0].transport.get_extra_info("socket")
    os.write(sock.fileno(), b"\x17\x03\x03\x00\x20" + b"no such record, and never was one")
    await recorder.ended()
    assert recorder.body == ONE
    assert recorder.error.kind == "broken"


@pytest.mark.parametrize(
    "hello", [b"", b"HTTP/1.1 400 No TLS here\r\n\r\n", b"\x16\x03\x03\xff\xff"]
)
async def test_a_server_without_tls_is_an_error(
    raw: Any, trusting: UpstreamClient, hello: bytes
) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(hello)
        await writer.drain()

    calls = await raw(plain)
    calls.upstream = trusting
    _, recorder = calls.open(base_url=f"https://127.0.0.1:{calls.port}")
    await recorder.ended()
    assert recorder.error.kind == "connect_failed"


async def test_a_handshake_that_stalls_ends_in_time(raw: Any, trusting: UpstreamClient) -> None:
    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    calls = await raw(mute)
    calls.upstream = trusting
    spec = {"base_url": f"https://127.0.0.1:{calls.port}", "connect_timeout_ms": 100}
    _, recorder = calls.open(**spec)
    await recorder.ended()
    assert recorder.error.kind == "connect_failed"
    assert "in time" in recorder.error.message
