"""Event streams are read the same however the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.providers.sse import SseEvent, SseParser


def read(*pieces: bytes, bytes_max: int = 1024) -> tuple[list[SseEvent], bool]:
    parser = SseParser(bytes_max=bytes_max)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.overflowed


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in read(*pieces)[0]]


def test_an_event_ends_with_an_empty_line() -> None:
    assert data_of(b"data: a\n") == []
    assert data_of(b"data: a\n\n") == [b"a"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_with_lf_cr_or_both(end: bytes) -> None:
    stream = end.join([b"event: x", b"data: a", b"", b"data: b", b"", b""])
    assert read(stream)[0] == [SseEvent(b"x", b"a"), SseEvent(b"message", b"b")]


def test_data_lines_of_one_event_are_joined() -> None:
    assert data_of(b"data: a\ndata:\ndata:  b\ndata\n\n") == [b"a\n\n b\n"]


def test_comments_ids_and_unknown_fields_are_left_out() -> None:
    assert data_of(b": ping\nid: 7\nretry: 10\nzork: 1\ndata: a\n\n") == [b"a"]


def test_an_event_without_data_is_none_and_its_name_is_forgotten() -> None:
    assert read(b"event: x\n\ndata: a\n\n")[0] == [SseEvent(b"message", b"a")]


def test_a_byte_order_mark_at_the_start_is_left_out() -> None:
    assert data_of(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_an_event_that_is_not_over_is_none() -> None:
    assert data_of(b"data: a\n\ndata: b\n") == [b"a"]


def test_an_event_larger_than_the_bound_stops_the_stream() -> None:
    stream = b"data: a\n\ndata: " + b"x" * 1024 + b"\n\ndata: b\n\n"
    assert read(stream) == ([SseEvent(b"message", b"a")], True)


def test_lines_of_one_event_count_together() -> None:
    assert read((b"data: " + b"x" * 200 + b"\n") * 6) == ([], True)
    assert read((b": " + b"x" * 200 + b"\n") * 6) == ([], True)


def test_a_line_that_never_ends_is_bounded() -> None:
    assert read(*[b"x" * 100] * 11) == ([], True)


def test_many_events_do_not_count_together() -> None:
    assert len(read(b"data: 0123456789\n\n" * 1000)[0]) == 1000


STREAMS = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\r\n",
            b"data",
            b":",
            b" ",
            b"event: e",
            b"data: x",
            b"\xef\xbb\xbf",
            b"zz",
        ]
    ),
    max_size=40,
).map(b"".join)


@given(stream=STREAMS, bytes_max=st.integers(1, 40))
def test_cut_at_every_byte_gives_the_same_events(stream: bytes, bytes_max: int) -> None:
    whole = read(stream, bytes_max=bytes_max)
    assert read(*(bytes([byte]) for byte in stream), bytes_max=bytes_max) == whole
    for at in range(len(stream) + 1):
        assert read(stream[:at], b"", stream[at:], bytes_max=bytes_max) == whole


@given(stream=st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(stream: bytes) -> None:
    read(stream, bytes_max=50)
