"""A caller made of bytes: many calls on one socket, begun, left, reset or hung up at a test's word.

Reads nothing and decides nothing, so that whatever stays in a process after it is the server's.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable

__all__ = ["BareClient"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE = 0, 1, 3, 4, 8
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8
FRAME_BYTES_MAX = 16_384
WINDOW_BYTES = 1 << 30  # nothing is read, and nothing is to wait for that


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """One frame. Source: RFC 9113, section 4.1."""
    return (
        struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream_id) + payload
    )


def plain(name: str, value: str) -> bytes:
    """A header without compression. Source: RFC 7541, section 6.2.2."""
    size = bytes([len(value)]) if len(value) < 127 else bytes([127, len(value) - 127])
    return b"\x00" + bytes([len(name)]) + name.encode() + size + value.encode()


class BareClient:
    """One connection to `address`; its calls carry `key`."""

    def __init__(self, address: str, key: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setblocking(False)
        self._key = key
        self._next_id = 1
        self._open: list[int] = []
        self._hello = (
            PREFACE
            + frame(SETTINGS, 0, 0, struct.pack("!HI", 4, WINDOW_BYTES))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", WINDOW_BYTES))
        )

    async def call(self, method: str, messages: Iterable[bytes], *, timeout: str = "") -> None:
        """Begin a call of `method` for each of `messages`, all in one piece.

        `timeout` is a grpc-timeout such as `200m`.
        """
        sent, self._hello = [self._hello], b""
        for message in messages:
            stream_id, self._next_id = self._next_id, self._next_id + 2
            self._open.append(stream_id)
            sent.append(frame(HEADERS, END_HEADERS, stream_id, self._head(method, timeout)))
            body = b"\0" + struct.pack("!I", len(message)) + message
            pieces = range(0, len(body), FRAME_BYTES_MAX)
            for start in pieces:
                flags = END_STREAM if start == pieces[-1] else 0
                sent.append(frame(DATA, flags, stream_id, body[start : start + FRAME_BYTES_MAX]))
        await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(sent))

    async def reset(self) -> None:
        """Cancel every call."""
        resets = [frame(RST_STREAM, 0, each, struct.pack("!I", CANCEL)) for each in self._open]
        await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(resets))
        self._open.clear()

    def hang_up(self) -> None:
        """Close the connection as a process does that is killed."""
        self._socket.close()

    def _head(self, method: str, timeout: str) -> bytes:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": "bare",
            "content-type": "application/grpc",
            "te": "trailers",
            "authorization": f"Bearer {self._key}",
            **({"grpc-timeout": timeout} if timeout else {}),
        }
        return b"".join(plain(name, value) for name, value in fields.items())
