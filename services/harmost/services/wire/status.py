"""gRPC status on the wire: codes, percent-encoded messages and trailers. Decides no status itself.

Source: gRPC over HTTP/2, "Responses" (PROTOCOL-HTTP2.md).
"""

import grpc

from .metadata import Header, Metadata, encode_metadata

__all__ = [
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "OK",
    "OK_TRAILERS",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "UNKNOWN",
    "code_of",
    "percent_decode",
    "percent_encode",
    "trailers",
]

OK = 0
CANCELLED = 1
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

_STATUS = tuple((b"grpc-status", b"%d" % code) for code in range(17))
OK_TRAILERS: tuple[Header, ...] = (_STATUS[OK],)
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}
_ENCODED = tuple(bytes((b,)) if b in _PLAIN else b"%%%02X" % b for b in range(256))


def code_of(code: object) -> int:
    """The number of a `grpc.StatusCode` or of an int in 0..16; UNKNOWN for anything else."""
    if isinstance(code, grpc.StatusCode):
        number: int = code.value[0]
        return number
    return code if isinstance(code, int) and 0 <= code <= 16 else UNKNOWN


def percent_encode(text: str) -> bytes:
    """`text` as UTF-8 with all but printable ASCII, and `%`, as %XX: nothing can end the line."""
    raw = text.encode("utf-8", "replace")
    if raw.isascii() and text.isprintable() and b"%" not in raw:
        return raw
    return b"".join([_ENCODED[byte] for byte in raw])


def percent_decode(raw: bytes) -> str:
    """The inverse of `percent_encode`; a broken escape stands for itself."""
    head, *rest = raw.split(b"%")
    pieces = [head]
    for piece in rest:
        try:
            pieces.append(bytes.fromhex(piece[:2].decode("ascii")) + piece[2:])
        except ValueError:
            pieces.append(b"%" + piece)
    return b"".join(pieces).decode("utf-8", "replace")


def trailers(code: int, details: str = "", metadata: Metadata = ()) -> tuple[Header, ...]:
    """Trailer fields for a status. Raises like `encode_metadata`; O(size of what is sent)."""
    if code == OK and not details and not metadata:
        return OK_TRAILERS
    fields: list[Header] = [_STATUS[code]]
    if details:
        fields.append((b"grpc-message", percent_encode(details)))
    fields.extend(encode_metadata(metadata))
    return tuple(fields)
