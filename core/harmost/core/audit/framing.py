"""A journal segment as bytes: a header, then framed rows. Tells a torn tail from corruption.

    header = magic (8) · first sequence (u64) · salt (u32) · CRC-32 of these (u32)
    frame  = marker (4) · payload length (u32) · CRC-32 of the rest (u32) · sequence (u64) · payload

All integers little-endian; the payload is MessagePack. Checksums of frames start from the salt,
which no caller knows: what a caller puts into a label cannot pass for a frame.

A writer that dies leaves a prefix of what it wrote, so damage with no whole frame after it is the
torn tail of rows that were never acknowledged as synced, and is cut. Damage with a whole frame
after it is corruption, and refused.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from harmost.core.audit.rows import Row
from harmost.core.errors import ServiceUnavailable

__all__ = [
    "HEADER_BYTES",
    "PAYLOAD_BYTES_MAX",
    "Frame",
    "Header",
    "encode",
    "frames",
    "read_header",
    "write_header",
]

# A record of 256 attempts with errors of 500 characters and every label full is below 1 MiB.
PAYLOAD_BYTES_MAX = 4 * 1024 * 1024

_MAGIC = b"hmjrnl\x00\x01"
_MARKER = b"\xf5HM\xfa"
_HEADER = Struct("<8sQII")
_FRAME = Struct("<4sIIQ")
_SEQUENCE = Struct("<Q")
HEADER_BYTES = _HEADER.size

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(Row)


class Header(NamedTuple):
    """What a segment's first bytes say."""

    first_sequence: int
    salt: int


class Frame:
    """One row as it was read, whole and sound; `end` is the offset after it.

    Decoded when it is asked for its row: who ships records passes by four rows of five.
    """

    __slots__ = ("_name", "_payload", "end", "sequence")

    def __init__(self, sequence: int, payload: memoryview, end: int, name: str) -> None:
        self.sequence: int = sequence
        self.end: int = end
        self._payload = payload
        self._name = name

    @property
    def tag(self) -> int:
        """Which kind of row it is: `tag` of its class in rows.py; -1 where it is none of this version.

        Source: MessagePack specification, "array format family" and "int format family".
        """
        head = self._payload[:4].tobytes()
        at = 1 if head[:1] and head[0] & 0xF0 == 0x90 else 3 if head[:1] == b"\xdc" else 4
        tag = head[at] if at < len(head) else 0xFF
        return tag if tag < 0x80 else -1

    @property
    def row(self) -> Row:
        """The row; raises ServiceUnavailable where it is none of this version."""
        return _decoded(self._payload, self._name, self.end)


def write_header(header: Header) -> bytes:
    """The first HEADER_BYTES of a segment."""
    plain = _HEADER.pack(_MAGIC, header.first_sequence, header.salt, 0)[:-4]
    return plain + crc32(plain).to_bytes(4, "little")


def read_header(data: bytes, *, name: str) -> Header | None:
    """The header of segment file `name`; None where it is torn. Raises ServiceUnavailable else."""
    if len(data) < HEADER_BYTES:
        return None
    magic, first_sequence, salt, crc = _HEADER.unpack_from(data)
    if magic != _MAGIC or crc != crc32(data[: HEADER_BYTES - 4]):
        raise _corrupt(name, 0, "its header is not a journal's")
    return Header(first_sequence, salt)


def encode(row: Row, *, sequence: int, salt: int) -> bytes:
    """`row` as a frame; ValueError where it exceeds PAYLOAD_BYTES_MAX."""
    payload = _encoder.encode(row)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a row of {len(payload)} bytes: at most {PAYLOAD_BYTES_MAX} are kept")
    crc = crc32(payload, crc32(_SEQUENCE.pack(sequence), salt))
    return _FRAME.pack(_MARKER, len(payload), crc, sequence) + payload


def frames(data: bytes, *, salt: int, sequence: int, base: int, name: str) -> Iterator[Frame]:
    """Rows of `data`, the first numbered `sequence`, up to the end or a torn tail.

    `base` is the offset of `data` in the file `name`, for `Frame.end` and for the error. Raises
    ServiceUnavailable, naming file and offset, where a damaged frame has a whole one after it.
    O(bytes).
    """
    at = 0
    view = memoryview(data)
    while at < len(data):
        whole = _frame_at(view, at, salt)
        if whole is None or whole[0] != sequence:
            if whole is not None or _whole_frame_after(data, at + 1, salt):
                raise _corrupt(name, base + at, f"the row numbered {sequence} is damaged")
            return
        _, payload, at = whole
        yield Frame(sequence, payload, base + at, name)
        sequence += 1


def _frame_at(data: memoryview, at: int, salt: int) -> tuple[int, memoryview, int] | None:
    # Sequence, payload and end of the frame at `at`; None where no whole, sound one stands.
    if len(data) - at < _FRAME.size:
        return None
    marker, size, crc, sequence = _FRAME.unpack_from(data, at)
    end = at + _FRAME.size + size
    if marker != _MARKER or size > PAYLOAD_BYTES_MAX or end > len(data):
        return None
    if crc32(data[at + _FRAME.size - 8 : end], salt) != crc:
        return None
    return sequence, data[at + _FRAME.size : end], end


def _whole_frame_after(data: bytes, at: int, salt: int) -> bool:
    view = memoryview(data)
    at = data.find(_MARKER, at)
    while at >= 0:
        if _frame_at(view, at, salt) is not None:
            return True
        at = data.find(_MARKER, at + 1)
    return False


def _decoded(payload: memoryview, name: str, offset: int) -> Row:
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _corrupt(name, offset, f"a row is not of this version: {error}") from error


def _corrupt(name: str, offset: int, why: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the journal file `{name}` cannot be read at byte {offset}: {why}: "
        "restore the file, or move the journal's directory away to start without it",
        details={"file": name, "offset": str(offset)},
    )
