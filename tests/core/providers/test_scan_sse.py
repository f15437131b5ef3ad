"""Event streams are read the same however the network cuts them, and as the slow twin reads them."""

import itertools
from collections.abc import Callable

import pytest
from answer_twin import SseTwin
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmost.core.providers.scan_sse import SseScanner


def read(
    *pieces: bytes, bytes_max: int = 1024, parser: type[SseScanner | SseTwin] = SseScanner
) -> tuple[list[bytes], bool]:
    """The events of `pieces`, and whether one of them was too large."""
    sse = parser(bytes_max=bytes_max)
    return [event for piece in pieces for event in sse.feed(piece)], sse.overflowed


@pytest.fixture(params=[SseScanner, SseTwin])
def data_of(request: pytest.FixtureRequest) -> Callable[..., list[bytes]]:
    return lambda *pieces: read(*pieces, parser=request.param)[0]


def test_an_event_ends_with_an_empty_line(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b"data: a\n") == []
    assert data_of(b"data: a\n\n") == [b"a"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_with_lf_cr_or_both(data_of: Callable[..., list[bytes]], end: bytes) -> None:
    stream = end.join([b"event: x", b"data: a", b"", b"data: b", b"", b""])
    assert data_of(stream) == [b"a", b"b"]
    assert data_of(*(bytes([byte]) for byte in stream)) == [b"a", b"b"]


def test_a_final_cr_ends_its_line_at_once(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b"data: a\r\r") == [b"a"]
    assert data_of(b"data: a\r\r", b"\ndata: b\r\n\r", b"\n") == [b"a", b"b"]


def test_data_lines_of_one_event_are_joined(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b"data: a\ndata:\ndata:  b\ndata\n\n") == [b"a\n\n b\n"]


def test_comments_ids_and_unknown_fields_are_left_out(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b": ping\nid: 7\nretry: 10\nzork: 1\ndatax: 1\ndata: a\n\n") == [b"a"]


def test_an_event_without_data_is_none(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b"event: x\n\n\n\ndata: a\n\n") == [b"a"]
    assert data_of(b"data\n\ndata:\n\n") == [b"", b""]


def test_a_byte_order_mark_at_the_start_is_left_out(data_of: Callable[..., list[bytes]]) -> None:
    assert data_of(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]
    assert data_of(b"\xef", b"\xbb", b"\xbf", b"data: a\n\n") == [b"a"]
    assert data_of(b"\xef\xbbdata: a\n\ndata: b\n\n") == [b"b"]


def test_an_event_larger_than_the_bound_stops_the_stream() -> None:
    stream = b"data: a\n\ndata: " + b"x" * 1024 + b"\n\ndata: b\n\n"
    assert read(stream) == ([b"a"], True)


def test_lines_of_one_event_count_together() -> None:
    assert read((b"data: " + b"x" * 200 + b"\n") * 6) == ([], True)
    assert read((b": " + b"x" * 200 + b"\n") * 6) == ([], True)


def test_a_line_that_never_ends_is_bounded() -> None:
    assert read(*[b"x" * 100] * 11) == ([], True)


def test_many_events_do_not_count_together() -> None:
    assert len(read(b"data: 0123456789\n\n" * 1000)[0]) == 1000


@pytest.mark.parametrize("unit", [b"\r", b"\n", b"\r\n", b"data\r", b"data:\n\n", b": x\r\r"])
def test_hostile_streams_take_linear_work(unit: bytes) -> None:
    # Quadratic work would take hours here; the test's own time limit is what fails then.
    scanner = SseScanner()
    scanner.feed(unit * (8_000_000 // len(unit)))


def test_only_bytes_are_read() -> None:
    for wrong in (None, "data: a\n\n", bytearray(b"data: a\n\n")):
        with pytest.raises(TypeError):
            SseScanner().feed(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bytes_max"):
        SseScanner(bytes_max=0)


STREAMS = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data",
            b":",
            b" ",
            b"event: e",
            b"data: x",
            b"data: " + b"y" * 300,
            b"\xef\xbb\xbf",
            b"\xef\xbb",
            b"zz",
            b"\0",
        ]
    ),
    max_size=40,
).map(b"".join)
BOUNDS = st.one_of(st.integers(3, 40), st.integers(300, 700))


@given(stream=STREAMS, bytes_max=BOUNDS)
@settings(deadline=None)
@example(stream=b"\xef\xbb\xbf\n\ndata: x\n\n", bytes_max=3)
def test_cut_at_every_byte_gives_the_same_events(stream: bytes, bytes_max: int) -> None:
    whole = read(stream, bytes_max=bytes_max)
    assert whole == read(stream, bytes_max=bytes_max, parser=SseTwin)
    assert read(*(bytes([byte]) for byte in stream), bytes_max=bytes_max) == whole
    for at in range(len(stream) + 1):
        assert read(stream[:at], b"", stream[at:], bytes_max=bytes_max) == whole


@given(stream=STREAMS, bytes_max=BOUNDS, cuts=st.lists(st.integers(0, 2000), max_size=12))
@settings(deadline=None, max_examples=300)
def test_random_pieces_are_read_as_the_twin_reads_them(
    stream: bytes, bytes_max: int, cuts: list[int]
) -> None:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    scanner, twin = SseScanner(bytes_max=bytes_max), SseTwin(bytes_max=bytes_max)
    for piece in pieces:
        assert scanner.feed(piece) == twin.feed(piece)
        assert scanner.overflowed == twin.overflowed


@given(stream=st.binary(max_size=300), at=st.integers(0, 300))
@settings(deadline=None)
def test_any_bytes_are_read_as_the_twin_reads_them(stream: bytes, at: int) -> None:
    pieces = (stream[:at], stream[at:])
    assert read(*pieces, bytes_max=50) == read(*pieces, bytes_max=50, parser=SseTwin)
