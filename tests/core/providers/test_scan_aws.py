"""Event streams of AWS are read as botocore reads them, however they are cut and whatever they hold."""

import itertools
import json
import struct
from typing import Any
from zlib import crc32

import pytest
from aws_stream import error, event, exception, message, string_heads
from botocore.eventstream import EventStreamBuffer, NoInitialResponseError, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.providers.scan_aws import AwsScanner

TEXT = event("contentBlockDelta", {"delta": {"text": "Grüezi \N{ROCKET}"}, "contentBlockIndex": 0})
STOP = event("messageStop", {"stopReason": "end_turn"})
STREAM = TEXT + exception("throttlingException", {"message": "slow"}) + error("E-1", 'a"b') + STOP


def read(*pieces: bytes, bytes_max: int = 4096) -> tuple[list[bytes], str]:
    """The texts of `pieces`, and how it went."""
    scanner = AwsScanner(bytes_max=bytes_max)
    texts = [text for piece in pieces for text in scanner.feed(piece)]
    return texts, "overflow" if scanner.overflowed else "corrupt" if scanner.corrupt else "good"


def twin(*pieces: bytes) -> tuple[list[Any], bool]:
    """What botocore reads of `pieces`, as our texts would say it, and whether it was content."""
    buffer = EventStreamBuffer()
    texts: list[Any] = []
    try:
        for piece in pieces:
            buffer.add_data(piece)
            for read_message in buffer:
                heads, payload = read_message.headers, read_message.payload
                match heads.get(":message-type"):
                    case "event":
                        texts.append({heads[":event-type"]: json.loads(payload or b"{}")})
                    case "exception":
                        said = {heads[":exception-type"]: json.loads(payload or b"{}")}
                        texts.append({"exception": said})
                    case "error":
                        said = {heads[":error-code"]: {"message": heads[":error-message"]}}
                        texts.append({"exception": said})
                    case other:
                        raise ValueError(other)
    except (ParserError, NoInitialResponseError, ValueError, KeyError, struct.error):
        return texts, False
    return texts, True


def test_a_message_is_one_json_text() -> None:
    texts, how = read(STREAM)
    assert how == "good"
    assert [json.loads(text) for text in texts] == [
        {
            "contentBlockDelta": {
                "delta": {"text": "Grüezi \N{ROCKET}"},
                "contentBlockIndex": 0,
            }
        },
        {"exception": {"throttlingException": {"message": "slow"}}},
        {"exception": {"E-1": {"message": 'a"b'}}},
        {"messageStop": {"stopReason": "end_turn"}},
    ]


def test_cut_at_every_byte_it_is_read_as_botocore_reads_it() -> None:
    whole = read(STREAM)
    assert ([json.loads(text) for text in whole[0]], True) == twin(STREAM)
    assert read(*(bytes([byte]) for byte in STREAM)) == whole
    for at in range(len(STREAM) + 1):
        assert read(STREAM[:at], b"", STREAM[at:]) == whole
        held = read(STREAM[:at])
        assert ([json.loads(text) for text in held[0]], held[1] == "good") == twin(STREAM[:at])


def test_every_changed_byte_is_found() -> None:
    stream = TEXT + STOP
    for at in range(len(stream)):
        for flip in (1, 0x80):
            changed = stream[:at] + bytes([stream[at] ^ flip]) + stream[at + 1 :]
            texts, how = read(changed)
            assert how == "corrupt"
            assert len(texts) == (at >= len(TEXT))
            assert read(changed[:at], changed[at:]) == (texts, how)
            assert not twin(changed)[1]


def test_nothing_is_read_after_a_fault() -> None:
    scanner = AwsScanner()
    assert scanner.feed(STOP[:-1] + b"\0" + STOP) == []
    assert scanner.feed(STOP) == []
    assert scanner.corrupt


def test_what_another_framing_says_is_corrupt_once_a_prelude_has_come() -> None:
    assert read(b"data: {}\n\n") == ([], "good")
    assert read(b"data: {}\n\ndata: {}\n\n") == ([], "corrupt")


def test_a_message_that_says_it_is_larger_than_the_bound_is_not_waited_for() -> None:
    assert read(STOP, bytes_max=len(STOP))[1] == "good"
    assert read(STOP[:12], bytes_max=len(STOP) - 1) == ([], "overflow")
    assert read(TEXT + STOP, bytes_max=len(TEXT) - 1) == ([], "overflow")


def test_many_messages_do_not_count_together() -> None:
    assert len(read(STOP * 1000, bytes_max=len(STOP))[0]) == 1000


@pytest.mark.parametrize("size", [0, 15, 2**31, 2**32 - 1])
@pytest.mark.parametrize("heads_size", [0, 1, 2**31, 2**32 - 1])
def test_sizes_that_cannot_be_are_refused(size: int, heads_size: int) -> None:
    prelude = struct.pack(">II", size, heads_size)
    stream = prelude + struct.pack(">I", crc32(prelude)) + b"\0" * 40
    texts, how = read(stream)
    assert texts == []
    assert how in ("corrupt", "overflow")


@pytest.mark.parametrize(
    "heads",
    [
        {},
        {":event-type": "a"},
        {":message-type": "event"},
        {":message-type": "event", ":exception-type": "a"},
        {":message-type": "exception", ":event-type": "a"},
        {":message-type": "zork", ":event-type": "a"},
        {":message-type": "event", ":event-type": ""},
        {":message-type": "event", ":event-type": 'a":1,"b'},
        {":message-type": "event", ":event-type": "a/b"},
    ],
)
def test_headers_that_do_not_say_what_it_is_are_refused(heads: dict[str, str]) -> None:
    assert read(message(string_heads(heads), b"{}")) == ([], "corrupt")


def test_a_header_twice_is_refused() -> None:
    heads = string_heads({":message-type": "event", ":event-type": "a"})
    assert read(message(heads, b"")) == ([b'{"a":{}}'], "good")
    twice = heads + string_heads({":event-type": "b"})
    assert read(message(twice, b"")) == ([], "corrupt")
    assert not twin(message(twice, b""))[1]


def test_headers_of_every_type_are_passed_over() -> None:
    values = [
        b"",
        b"",
        b"1",
        b"12",
        b"1234",
        b"12345678",
        b"\0\2ab",
        b"\0\2ab",
        b"1" * 8,
        b"1" * 16,
    ]
    heads = b"".join(b"\1" + b"%d" % n + bytes([n]) + value for n, value in enumerate(values))
    whole = message(heads + string_heads({":message-type": "event", ":event-type": "a"}), b"1")
    assert read(whole) == ([b'{"a":1}'], "good")
    assert twin(whole) == ([{"a": 1}], True)


HEADS = st.lists(
    st.one_of(
        st.builds(
            lambda name, value: string_heads({name: value}),
            st.sampled_from(
                [":message-type", ":event-type", ":exception-type", ":error-code", "x", ""]
            ),
            st.sampled_from(["event", "exception", "error", "a", "", "ä", 'q"']),
        ),
        st.binary(max_size=12),
    ),
    max_size=6,
).map(b"".join)


@given(heads=HEADS, payload=st.sampled_from([b"", b"{}", b'{"message":"m"}', b"{", b"\xff"]))
@settings(deadline=None, max_examples=300)
def test_any_headers_are_read_as_botocore_reads_them_or_refused(
    heads: bytes, payload: bytes
) -> None:
    stream = message(heads, payload)
    texts, how = read(stream)
    read_by_botocore, is_content = twin(stream)
    if how == "good" and is_content:
        assert [json.loads(text) for text in texts] == read_by_botocore
    # What botocore reads and we refuse has a name that no service uses.
    elif is_content:
        assert how == "corrupt"
        assert any(
            not name.isascii() or '"' in name or not name for name in names(read_by_botocore)
        )


def names(texts: list[Any]) -> list[str]:
    """Names of events and exceptions in `texts`."""
    return [key for text in texts for key in (text.get("exception") or text)]


@given(stream=st.binary(max_size=200), at=st.integers(0, 200))
@settings(deadline=None)
def test_any_bytes_are_read_the_same_in_pieces(stream: bytes, at: int) -> None:
    assert read(stream) == read(stream[:at], stream[at:])
    assert read(STOP + stream)[0][:1] == read(STOP)[0]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(deadline=None)
def test_random_pieces_are_read_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[a:b] for a, b in itertools.pairwise(places))) == read(STREAM)


def test_only_bytes_are_read() -> None:
    for wrong in (None, "a", bytearray(STOP)):
        with pytest.raises(TypeError):
            AwsScanner().feed(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bytes_max"):
        AwsScanner(bytes_max=0)


def test_large_messages_in_single_bytes_take_linear_work() -> None:
    # Quadratic work would take minutes here; the test's own time limit is what fails then.
    scanner = AwsScanner()
    whole = event("a", {"text": "x" * 200_000})
    texts = [text for at in range(len(whole)) for text in scanner.feed(whole[at : at + 1])]
    assert len(texts) == 1
