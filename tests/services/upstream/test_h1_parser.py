"""The HTTP/1.1 parser: any split of the bytes gives the same, and no garbage gets past a bound."""

import http.client
import io
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmost.services.upstream.h1_parser import ResponseParser
from harmost.services.upstream.limits import (
    CHUNK_LINE_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def parsed(*pieces: bytes, closed: bool = False) -> tuple[ResponseParser, bytes]:
    """A parser after `pieces`, and the body."""
    parser = ResponseParser()
    body = b"".join(parser.feed(piece) for piece in pieces)
    if closed:
        parser.finish()
    return parser, body


def state(parser: ResponseParser, body: bytes) -> tuple[object, ...]:
    """All that a parser tells."""
    return parser.status, parser.headers, parser.ended, parser.error, parser.reusable, body


def held_bytes(parser: ResponseParser) -> int:
    """What it keeps between reads."""
    return len(parser._held)


@pytest.mark.parametrize(
    ("data", "body", "reusable"),
    [
        (OK + b"content-length: 3\r\n\r\nabc", b"abc", True),
        (OK + b"content-length: 3\r\nconnection: close\r\n\r\nabc", b"abc", False),
        (OK + b"Content-Length:3\r\nConnection: x, CLOSE\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No\r\n\r\n", b"", True),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc", True),
        (CHUNKED + b"1\r\na\r\n0002\r\nbc\r\n0\r\n\r\n", b"abc", True),
        (CHUNKED + b"a;name=v\r\n0123456789\r\n0;x\r\na: b\r\n\r\n", b"0123456789", True),
        (b"HTTP/1.1 100 Go on\r\n\r\n" + OK + b"content-length: 1\r\n\r\nx", b"x", True),
        (OK + b"content-length: 3\r\n\r\nabcd", b"abc", False),  # more than was asked for
    ],
)
def test_whole_responses(data: bytes, body: bytes, reusable: bool) -> None:
    parser, got = parsed(data)
    assert (got, parser.ended, parser.error, parser.reusable) == (body, True, "", reusable)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"nonsense\r\n\r\n", "no HTTP/1.1 status line"),
        (b"HTTP/2 200 OK\r\n\r\n", "no HTTP/1.1 status line"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "no HTTP/1.1 status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP/1.1 status line"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "no HTTP/1.1 status line"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "protocol switched unasked"),
        (OK + b"a\r\n\r\n", "wrong header"),
        (OK + b"a : b\r\n\r\n", "wrong header"),
        (OK + b" a: b\r\n\r\n", "wrong header"),
        (OK + b"a: b\r\n folded\r\n\r\n", "wrong header"),
        (OK + b"a: b\0\r\n\r\n", "wrong header"),
        (OK + b"a: b\nc: d\r\n\r\n", "wrong header"),
        (OK + b"a: b\r\n" * HEADERS_MAX + b"\r\n", "too many headers"),
        (OK + b"content-length: -1\r\n\r\n", "wrong content-length"),
        (OK + b"content-length: +1\r\n\r\n", "wrong content-length"),
        (OK + b"content-length: 1_0\r\n\r\n", "wrong content-length"),
        (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", "wrong content-length"),
        (OK + b"content-length: " + b"9" * 16 + b"\r\n\r\n", "wrong content-length"),
        (
            OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "more than one way to tell the body's end",
        ),
        (OK + b"transfer-encoding: gzip, chunked\r\n\r\n", "more than one way"),
        (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "more than one way"),
        (CHUNKED + b"zork\r\n", "wrong chunk size"),
        (CHUNKED + b"\r\n", "wrong chunk size"),
        (CHUNKED + b"-1\r\n", "wrong chunk size"),
        (CHUNKED + b"0x1\r\na\r\n", "wrong chunk size"),
        (CHUNKED + b"1_0\r\n", "wrong chunk size"),
        (CHUNKED + b"f" * 16 + b"\r\n", "wrong chunk size"),
        (CHUNKED + b"1" * CHUNK_LINE_BYTES_MAX + b"1", "chunk line longer than its bound"),
        (CHUNKED + b"1\r\nab\r\n", "chunk longer than its size"),
        (CHUNKED + b"1\r\na\nb", "chunk longer than its size"),
        (CHUNKED + b"0\r\nno trailer\r\n\r\n", "wrong trailer"),
        (CHUNKED + b"0\r\n" + b"a: b\r\n" * HEAD_BYTES_MAX, "trailers longer than its bound"),
        (OK + b"a: " + b"b" * HEAD_BYTES_MAX, "header list longer than its bound"),
        (b"x" * (HEAD_BYTES_MAX + 1), "header list longer than its bound"),
        (b"HTTP/1.1 102 Wait\r\n\r\n" * 9_000, "header list longer than its bound"),
    ],
)
def test_what_is_no_response(data: bytes, error: str) -> None:
    parser, _ = parsed(data)
    assert error in parser.error
    apart, _ = parsed(*data.partition(b"\r\n\r\n"))  # a chunk begins a read
    assert apart.error == parser.error
    assert not parser.ended
    assert not parser.reusable
    assert parser.feed(b"more") == b""


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", False),
        (OK, False),
        (OK + b"content-length: 9\r\n\r\nabc", False),
        (CHUNKED, False),
        (CHUNKED + b"3\r\nab", False),
        (CHUNKED + b"3\r\nabc\r\n", False),
        (CHUNKED + b"0\r\n", False),
        (OK + b"\r\nabc", True),
        (OK + b"content-length: 3\r\n\r\nabc", True),
    ],
)
def test_a_close_ends_only_what_has_no_length(data: bytes, whole: bool) -> None:
    parser, _ = parsed(data, closed=True)
    assert (parser.ended, bool(parser.error)) == (whole, not whole)


def test_repeated_headers_are_joined() -> None:
    parser, _ = parsed(OK + b"A: 1\r\nb: 2\r\na: 3\r\ncontent-length: 0\r\n\r\n")
    assert parser.headers == {"a": "1, 3", "b": "2", "content-length": "0"}


def test_what_came_before_an_error_is_good() -> None:
    parser, body = parsed(CHUNKED + b"3\r\nabc\r\nzork\r\n")
    assert (body, parser.error) == (b"abc", "wrong chunk size")


# Pieces that make responses, nearly-responses and worse.
PIECES = st.sampled_from(
    [
        *(OK, CHUNKED, b"HTTP/1.1 100 x\r\n\r\n", b"HTTP/1.0 404 No\r\n\r\n"),
        *(b"content-length: 5\r\n", b"connection: close\r\n", b"transfer-encoding: chunked\r\n"),
        *(
            b"\r\n",
            b"\r",
            b"\n",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"1\r\na\r\n",
            b"0\r\n",
            b"hello",
        ),
        *(b"a: b\r\n", b";ext\r\n", b"ffffffff\r\n", b"\0", b"data: x\n\n"),
    ]
)
BYTES = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=12).map(b"".join)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at `cuts`."""
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)]


@settings(max_examples=400, deadline=None)
@given(BYTES, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
@example(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + b"x", [1, 2, 3], False)
def test_any_split_gives_the_same(data: bytes, cuts: list[int], closed: bool) -> None:
    whole = state(*parsed(data, closed=closed))
    assert state(*parsed(*split(data, cuts), closed=closed)) == whole
    assert state(*parsed(*(bytes([b]) for b in data), closed=closed)) == whole


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=400), max_size=12), st.randoms(use_true_random=False)
)
def test_what_was_chunked_comes_back(chunks: list[bytes], rng: random.Random) -> None:
    data = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    cuts = [rng.randrange(len(data)) for _ in range(rng.randrange(8))]
    parser, body = parsed(*split(data, cuts))
    assert (body, parser.ended, parser.reusable) == (b"".join(chunks), True, True)


class _Socket:
    """What http.client reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_arguments: object) -> io.BytesIO:
        return io.BytesIO(self._data)


@settings(max_examples=250, deadline=None)
@given(BYTES)
def test_what_it_takes_the_standard_library_reads_alike(tail: bytes) -> None:
    for data in (OK + tail, CHUNKED + tail, tail):
        parser, body = parsed(data, closed=True)
        if not parser.ended or data.startswith(b"HTTP/1.1 1"):
            continue
        twin = http.client.HTTPResponse(_Socket(data))  # type: ignore[arg-type]
        twin.begin()
        assert (parser.status, body) == (twin.status, twin.read())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3_000), st.integers(1, 400))
def test_garbage_is_held_to_its_bound(data: bytes, size: int) -> None:
    for start in (b"", OK, CHUNKED, CHUNKED + b"5\r\nhel", CHUNKED + b"0\r\na"):
        parser = ResponseParser()
        for at in range(0, len(start + data), size):
            parser.feed((start + data)[at : at + size])
            assert held_bytes(parser) <= HEAD_BYTES_MAX + 1
        parser.finish()
        assert parser.ended or parser.error


def test_a_drip_without_end_is_held_to_its_bound() -> None:
    for start in (b"", CHUNKED, CHUNKED + b"0\r\n"):
        parser, _ = parsed(start)
        for _ in range(HEAD_BYTES_MAX * 2 // 1_000):
            parser.feed(b"x" * 1_000)
            assert held_bytes(parser) <= HEAD_BYTES_MAX + 1
        assert "longer than its bound" in parser.error
