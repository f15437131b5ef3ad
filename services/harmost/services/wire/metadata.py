"""Metadata between Python and header fields: names, binary values, what a caller may see.

Source: gRPC over HTTP/2, "Custom-Metadata" and "Timeout" (PROTOCOL-HTTP2.md).
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

__all__ = [
    "Header",
    "Metadata",
    "Metadatum",
    "check_metadata",
    "decode_metadata",
    "encode_metadata",
    "timeout_s",
]

Header = tuple[bytes, bytes]
Metadata = Sequence[tuple[str, str | bytes]]

_KEY = re.compile(r"[0-9a-z_.\-]+", re.ASCII)
_VALUE = re.compile(rb"[ -~]*")
_TIMEOUT = re.compile(rb"[0-9]{1,8}[HMSmun]")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# What the transport itself reads; everything else, user-agent included, is the application's.
_RESERVED = frozenset(
    {b"content-type", b"te", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"}
    | {b"grpc-message-type", b"host", b"connection", b"content-length"}
)


class Metadatum(NamedTuple):
    """One entry; `value` is bytes when `key` ends in `-bin`, else str."""

    key: str
    value: str | bytes


def decode_metadata(headers: Iterable[Header]) -> tuple[Metadatum, ...]:
    """The custom metadata among `headers`, in order; a malformed binary value is left out."""
    found: list[Metadatum] = []
    for name, value in headers:
        if name[:1] == b":" or name in _RESERVED:
            continue
        key = name.decode("ascii", "replace")
        if not name.endswith(b"-bin"):
            found.append(Metadatum(key, value.decode("utf-8", "surrogateescape")))
            continue
        for part in value.split(b","):  # peers may join binary values
            try:
                found.append(Metadatum(key, b64decode(part.strip() + b"==")))
            except ValueError:
                continue
    return tuple(found)


def check_metadata(metadata: object) -> tuple[tuple[str, str | bytes], ...]:
    """`metadata` as pairs. Raises TypeError unless it is pairs of str and str or bytes."""
    if not isinstance(metadata, Iterable):
        raise TypeError(f"metadata must be a sequence of pairs, not `{metadata!r}`")
    pairs: list[tuple[str, str | bytes]] = []
    for pair in cast(Iterable[object], metadata):
        match pair:
            case (str(key), str() | bytes() as value):
                pairs.append((key, value))
            case wrong:
                raise TypeError(f"metadata must be a sequence of pairs, not `{wrong!r}`")
    return tuple(pairs)


def encode_metadata(metadata: Metadata) -> list[Header]:
    """Header fields for `metadata`; binary values in base64 without padding.

    Raises ValueError for a key or a value that HTTP/2 or gRPC does not allow: the engine below
    does not check trailers, and a line feed there would reach the peer.
    """
    return [_encode(key, value) for key, value in metadata]


def _encode(key: str, value: str | bytes) -> Header:
    if not _KEY.fullmatch(key) or (key.startswith("grpc-") and not key.endswith("-bin")):
        raise ValueError(f"metadata key `{key}` is not allowed")
    raw = value.encode() if isinstance(value, str) else value
    if key.endswith("-bin"):
        return key.encode(), b64encode(raw).rstrip(b"=")
    if not _VALUE.fullmatch(raw):
        raise ValueError(f"metadata value of `{key}` must be printable ASCII")
    return key.encode(), raw


def timeout_s(value: bytes) -> float | None:
    """Seconds of a grpc-timeout field; None if it is malformed."""
    return int(value[:-1]) * _UNIT_S[value[-1:]] if _TIMEOUT.fullmatch(value) else None
