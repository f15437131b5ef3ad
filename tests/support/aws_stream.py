"""Writes event streams of AWS; botocore, which reads them here, has no writer.

Source: Smithy, "Amazon Event Stream Specification".
"""

import json
import struct
from collections.abc import Mapping
from zlib import crc32

__all__ = ["error", "event", "exception", "message", "string_heads"]


def message(heads: bytes, payload: bytes) -> bytes:
    """A message with `heads` as they are."""
    prelude = struct.pack(">II", 16 + len(heads) + len(payload), len(heads))
    prelude += struct.pack(">I", crc32(prelude))
    body = prelude + heads + payload
    return body + struct.pack(">I", crc32(body))


def string_heads(heads: Mapping[str, str]) -> bytes:
    """Headers that are text."""
    written = b""
    for name, value in heads.items():
        written += bytes([len(name)]) + name.encode()
        written += b"\7" + struct.pack(">H", len(value.encode())) + value.encode()
    return written


def event(name: str, payload: object) -> bytes:
    """An event as Bedrock sends it."""
    heads = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(string_heads(heads), json.dumps(payload).encode())


def exception(name: str, payload: object) -> bytes:
    """An exception in a stream as Bedrock sends it."""
    heads = {
        ":exception-type": name,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(string_heads(heads), json.dumps(payload).encode())


def error(code: str, words: str) -> bytes:
    """An error that the service's description does not know."""
    heads = {":message-type": "error", ":error-code": code, ":error-message": words}
    return message(string_heads(heads), b"")
