"""Message compression: gzip and identity. Knows no headers beyond their values.

Source: gRPC compression (COMPRESSION.md).
"""

import zlib

import grpc

__all__ = [
    "ACCEPTED",
    "GZIP",
    "IDENTITY",
    "MessageTooLarge",
    "algorithm_name",
    "compress",
    "decompress",
]

IDENTITY = b"identity"
GZIP = b"gzip"
ACCEPTED = b"identity,gzip"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class MessageTooLarge(ValueError):
    """A message whose plain form exceeds the bound."""


def algorithm_name(compression: object) -> bytes:
    """The algorithm that a `grpc.Compression` asks for; what is not had here becomes gzip."""
    if compression is None or compression is grpc.Compression.NoCompression:
        return IDENTITY
    return GZIP


def compress(message: bytes) -> bytes:
    """`message` as one gzip member at zlib's fastest level: this is on the path of every call."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP_FORMAT)
    return packer.compress(message) + packer.flush()


def decompress(message: bytes, *, bytes_max: int) -> bytes:
    """The plain form of one gzip member, which never grows beyond `bytes_max` + 1 in memory.

    Raises MessageTooLarge beyond it, ValueError when `message` is no whole gzip member.
    """
    unpacker = zlib.decompressobj(_GZIP_FORMAT)
    try:
        plain = unpacker.decompress(message, bytes_max + 1)
    except zlib.error as error:
        raise ValueError(f"message is not gzip: {error}") from error
    if len(plain) > bytes_max:
        raise MessageTooLarge(f"plain message exceeds {bytes_max} bytes")
    if not unpacker.eof:
        raise ValueError("message is not gzip: it ends early")
    return plain
