"""Facts about segments as bytes: a torn tail is cut, anything else that is wrong is refused."""

import random
from typing import Any

import msgspec
import pytest

from harmost.core.audit import framing
from harmost.core.audit.framing import (
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    Header,
    encode,
    frames,
    read_header,
    write_header,
)
from harmost.core.audit.rows import MissionOpened, Row
from harmost.core.errors import ServiceUnavailable

SALT = 0xDEADBEEF


@pytest.fixture
def rows(call: Any) -> list[Row]:
    return [row for name in ("a", "b", "c") for row in call(name).rows()]


@pytest.fixture
def encoded(rows: list[Row]) -> list[bytes]:
    return [encode(row, sequence=n, salt=SALT) for n, row in enumerate(rows, 1)]


def read(data: bytes, *, salt: int = SALT, sequence: int = 1) -> list[Row]:
    return [
        frame.row for frame in frames(data, salt=salt, sequence=sequence, base=24, name="f.journal")
    ]


def test_rows_come_back_as_they_were(rows: list[Row], encoded: list[bytes]) -> None:
    assert read(b"".join(encoded)) == rows


def test_each_frame_says_which_kind_it_is_before_it_is_decoded(
    rows: list[Row], encoded: list[bytes]
) -> None:
    found = list(frames(b"".join(encoded), salt=SALT, sequence=1, base=24, name="f"))
    assert [frame.tag for frame in found] == [type(row).__struct_config__.tag for row in rows]
    assert len({frame.tag for frame in found}) >= 5


@pytest.mark.parametrize(
    "payload", [b"", b"\x91", b"\x91\xff", b"\xdc", b"\xdc\0\1", b"\x01", b"\xdd\0\0\0\1\1"]
)
def test_what_is_no_row_has_no_kind(payload: bytes) -> None:
    frame = framing.Frame(1, memoryview(payload), 24, "f.journal")
    assert frame.tag == -1
    with pytest.raises(ServiceUnavailable, match="not of this version"):
        _ = frame.row


def test_each_frame_says_where_it_ends(encoded: list[bytes]) -> None:
    found = list(frames(b"".join(encoded), salt=SALT, sequence=1, base=24, name="f"))
    assert found[0].end == 24 + len(encoded[0])
    assert found[-1].end == 24 + sum(map(len, encoded))


def test_every_cut_leaves_exactly_the_whole_rows_before_it(
    rows: list[Row], encoded: list[bytes]
) -> None:
    data = b"".join(encoded)
    ends = [sum(map(len, encoded[:n])) for n in range(len(encoded) + 1)]
    for cut in range(len(data) + 1):
        whole = max(n for n, end in enumerate(ends) if end <= cut)
        assert read(data[:cut]) == rows[:whole], cut


def test_a_changed_byte_before_the_last_row_is_refused_with_its_offset(
    encoded: list[bytes],
) -> None:
    data = b"".join(encoded)
    starts = [sum(map(len, encoded[:n])) for n in range(len(encoded) + 1)]
    for at in range(starts[-2]):
        spoiled = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        with pytest.raises(ServiceUnavailable) as error:
            read(spoiled)
        start = max(start for start in starts if start <= at)
        assert error.value.details == {"file": "f.journal", "offset": str(24 + start)}, at


def test_a_changed_byte_in_the_last_row_cannot_be_told_from_a_torn_tail(
    rows: list[Row], encoded: list[bytes]
) -> None:
    start, data = sum(map(len, encoded[:-1])), b"".join(encoded)
    for at in range(start, len(data)):
        spoiled = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        assert read(spoiled) == rows[:-1], at


@pytest.mark.parametrize("tail", [b"\0" * 4096, random.Random(1).randbytes(4096)])
def test_garbage_behind_the_last_row_is_a_torn_tail(
    rows: list[Row], encoded: list[bytes], tail: bytes
) -> None:
    assert read(b"".join(encoded) + tail) == rows


def test_a_row_that_is_missing_is_refused(encoded: list[bytes]) -> None:
    with pytest.raises(ServiceUnavailable, match="numbered 3 is damaged"):
        read(b"".join(encoded[:2] + encoded[3:]))


def test_a_caller_cannot_put_a_row_into_a_label(call: Any) -> None:
    inner = encode(call("evil").opened, sequence=9, salt=0).decode("latin-1")
    row = MissionOpened(
        record_id="r",
        tenant="t",
        profile="p",
        principal="x",
        router_id="r1",
        started_at_ns=1,
        labels={"k": inner},
    )
    data = encode(row, sequence=1, salt=SALT)
    assert read(data) == [row]
    assert read(data[:-1]) == []


def test_a_row_of_another_segment_is_no_row_here(encoded: list[bytes]) -> None:
    assert read(encoded[0], salt=SALT + 1) == []


def test_a_row_that_is_too_large_is_refused_before_it_is_taken(call: Any) -> None:
    row = MissionOpened(
        record_id="r" * PAYLOAD_BYTES_MAX,
        tenant="t",
        profile="p",
        principal="x",
        router_id="r1",
        started_at_ns=1,
    )
    with pytest.raises(ValueError, match="at most"):
        encode(row, sequence=1, salt=SALT)


def test_a_header_comes_back_and_a_spoiled_one_is_refused() -> None:
    data = write_header(Header(first_sequence=7, salt=SALT))
    assert len(data) == HEADER_BYTES
    assert read_header(data, name="f") == Header(7, SALT)
    for at in range(HEADER_BYTES):
        with pytest.raises(ServiceUnavailable, match="`f`"):
            read_header(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], name="f")


def test_a_short_header_is_torn() -> None:
    data = write_header(Header(7, SALT))
    assert all(read_header(data[:cut], name="f") is None for cut in range(HEADER_BYTES))


def test_a_row_of_a_newer_version_may_have_more_fields(call: Any) -> None:
    row = call("a").settled
    longer = msgspec.msgpack.encode([*msgspec.to_builtins(row), "something new"])
    assert framing._decoder.decode(longer) == row
