"""What the vendors' fakes have in common: a server on loopback, and what a test has it answer.

A fake is a real server: HTTP/1.1, HTTP/2 (over TLS, or at once over plain TCP), so that the vendors'
own clients can call it as they call the vendor.
"""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from certificates import certificate
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

__all__ = ["Answer", "Call", "Fake", "Fault", "Reply", "Seen", "serving"]

# "stall", "cut" and "garbage" begin a good answer and then fail; the others are the vendor's refusals.
Fault = Literal[
    "",
    "bad_request",
    "unauthorized",
    "not_found",
    "throttled",  # with `retry_after_s`
    "quota",
    "server_error",
    "overloaded",
    "timeout",
    "context_too_long",
    "filtered",
    "stall",
    "cut",
    "garbage",
]
GARBAGE = b"data: {]\xff\xfe\r\n\r\nevent: \x00\n\n{{{"
STALL_S = 60.0


class Call(NamedTuple):
    """A tool that the answer calls."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True)
class Answer:
    """What the model says. Token counts are in the normal form: input includes what is cached, output
    includes reasoning; a fake writes them as its vendor does."""

    text: str = 'Grüezi from the fake: "quoted", \\ and \N{ROCKET}.'
    calls: tuple[Call, ...] = ()
    reasoning: str = ""
    finish: Literal["stop", "length", "tool_calls", "content_filter"] = "stop"
    input_tokens: int = 110
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 21
    reasoning_tokens: int = 0


class Seen(NamedTuple):
    """A request as it came. `path` is decoded, `raw_path` is not; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    http_version: str
    raw_path: str = ""

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)


class Reply(NamedTuple):
    """An answer: the body's `pieces` are sent one by one, a stream's events each in its own."""

    status: int
    headers: Mapping[str, str]
    pieces: Sequence[bytes]

    @classmethod
    def of(cls, body: object, status: int = 200, **headers: str) -> "Reply":
        """JSON; `retry_after="7"` is the header `retry-after`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"content-type": "application/json", **named}
        return cls(status, named, (json.dumps(body, ensure_ascii=False).encode(),))


@dataclass
class Fake(ABC):
    """A vendor. Subclasses say in `reply` what it answers; a test sets what it shall answer next.

    `cuts`: cut the body anywhere, by this source of chance, rather than between events.
    """

    answer: Answer = field(default_factory=Answer)
    fault: Fault = ""
    retry_after_s: int = 7
    cuts: random.Random | None = None
    garbage: bytes = GARBAGE
    seen: list[Seen] = field(default_factory=list)

    @abstractmethod
    def reply(self, seen: Seen) -> Reply:
        """The vendor's answer to `seen`, with `answer` or `fault`; "stall", "cut" and "garbage" are
        the server's to make of a good one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        seen = await _seen(scope, receive)
        self.seen.append(seen)
        reply = self.reply(seen)
        pieces = list(reply.pieces)
        broken = self.fault in ("stall", "cut", "garbage")
        if broken:
            pieces = pieces[: max(1, len(pieces) // 2)]
            pieces[-1] = pieces[-1][: max(1, len(pieces[-1]) // 2)]
        if self.fault == "garbage":
            pieces = [self.garbage]
        if self.cuts is not None:
            pieces = _cut(b"".join(pieces), self.cuts)
        headers = [(k.encode(), v.encode("latin-1")) for k, v in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self.fault == "stall":
            await _gone(receive)
            return
        if self.fault == "cut":
            raise ConnectionAbortedError("cut")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _seen(scope: Any, receive: Any) -> Seen:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return Seen(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode())),
        headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        body=bytes(body),
        http_version=scope["http_version"],
        raw_path=scope["raw_path"].decode(),
    )


def _cut(body: bytes, chance: random.Random) -> list[bytes]:
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        to = at + chance.choice((1, 2, 3, 7, 40, 400))
        pieces.append(body[at:to])
        at = to
    return pieces


async def _gone(receive: Any) -> None:
    """Wait until the client has gone, at most `STALL_S`."""
    try:
        async with asyncio.timeout(STALL_S):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


@asynccontextmanager
async def serving(fake: Fake, *, tls_folder: Path | None = None) -> AsyncIterator[str]:
    """Serve `fake` on a free port; its `http://127.0.0.1:PORT`, over TLS with a certificate that is made
    in `tls_folder` (`127.0.0.1.pem` there is also the root to trust)."""
    config = Config()
    config.errorlog = None
    context = None
    if tls_folder is not None:
        config.certfile = config.keyfile = str(certificate(tls_folder, "127.0.0.1"))
        context = config.create_ssl_context()
    connections = _Connections(fake, config)
    server = await asyncio.start_server(connections.take, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await connections.close()


class _Connections:
    """hypercorn's connections. It cannot break one off over HTTP/2, which is done here."""

    def __init__(self, fake: Fake, config: Config) -> None:
        self._fake, self._config = fake, config
        self._context = WorkerContext(None)
        self._writers: dict[object, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        peer = writer.get_extra_info("peername")
        self._writers[peer] = writer
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        loop = asyncio.get_running_loop()
        app = ASGIWrapper(self._answer)
        try:
            await TCPServer(app, loop, self._config, self._context, {}, reader, writer)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            pass  # by `close`; asyncio.streams would complain of a task that ends so
        finally:
            del self._writers[peer]
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End them all."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._fake(scope, receive, send)
        except ConnectionAbortedError:
            self._writers[tuple(scope["client"])].close()
