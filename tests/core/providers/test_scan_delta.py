"""A delta is read as the whole decoder reads it, or not at all."""

import json
from collections.abc import Callable

import pytest
from answer_twin import anthropic_delta, openai_delta
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmost.core.providers.codec import TextDelta
from harmost.core.providers.registry import codec
from harmost.core.providers.scan_delta import anthropic_text, bedrock_text, openai_text
from harmost.core.providers.scan_gemini import gemini_text

Text = Callable[[bytes], str | None]
SCANNERS: dict[str, Text] = {
    "openai": openai_text,
    "anthropic": anthropic_text,
    "bedrock": bedrock_text,
    "gemini": gemini_text,
}


def check(name: str, data: bytes) -> str | None:
    """What the scanner reads; where it reads anything, the decoder and plain json read the same."""
    text = SCANNERS[name](data)
    if text is not None:
        assert codec(name).reader().take(data) == ([TextDelta(text)] if text else [])
        assert plain(name, json.loads(data.decode())) == text
    return text


def plain(name: str, value: dict[str, object]) -> str:
    """The text as plain json has it."""
    found: object
    match name, value:
        case "openai", {"choices": [{"delta": {"content": str(found)}}]}:
            return found
        case "anthropic", {"type": "content_block_delta", "delta": {"text": str(found)}}:
            return found
        case "bedrock", {"contentBlockDelta": {"delta": {"text": str(found)}}}:
            return found
        case "gemini", {"candidates": [{"content": {"parts": [{"text": str(found)}]}}]}:
            return found
    return ""


def gemini_delta(text: str | None, *, ascii_only: bool = True) -> bytes:
    content = {"parts": [{"text": text}], "role": "model"}
    chunk = {"candidates": [{"content": content, "index": 0}], "modelVersion": "gemini-3"}
    return json.dumps(chunk, ensure_ascii=ascii_only).encode()


def bedrock_delta(text: str | None, *, ascii_only: bool = True) -> bytes:
    piece = {"contentBlockIndex": 0, "delta": {"text": text}, "p": "abc"}
    return json.dumps({"contentBlockDelta": piece}, ensure_ascii=ascii_only).encode()


@pytest.mark.parametrize(
    "text", ["", "a", "Grüße, 你好 😀", '"\\/\b\f\n\r\t', "\0", "\u2028", "\x7f"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_vendors_own_deltas_are_read(text: str, ascii_only: bool) -> None:
    assert check("openai", openai_delta(text, ascii_only=ascii_only)) == text
    assert check("anthropic", anthropic_delta(text, ascii_only=ascii_only)) == text
    assert check("bedrock", bedrock_delta(text, ascii_only=ascii_only)) == text
    assert check("gemini", gemini_delta(text, ascii_only=ascii_only)) == text


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"index":0,"delta":{"role":"assistant","content":"x"}}]}',
        b' {\t"choices" :\r\n[ { "delta" : { "content" : "x" } , "index" : 0 } ] } ',
        b'{"choices":[{"delta":{"content":"x","refusal":null},"finish_reason":null}],"usage":null}',
        b'{"choices":[{"delta":{"content":"x"},"logprobs":{"content":[{"logprob":-0.25}]}}]}',
        b'{"a":[],"b":{},"c":[1,-2,0.5,true,false,null,"\\u00e9"],"choices":[{"delta":{"content":"x"}}]}',
        b'{"error":null,"choices":[{"delta":{"content":"x"}}]}',
        b'{"id":"","choices":[{"delta":{"content":"x"}}]}',
    ],
)
def test_order_space_and_other_fields_do_not_matter(data: bytes) -> None:
    assert check("openai", data) == "x"


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":null}]}',
        b'{"choices":[{"delta":{}}]}',
        b'{"choices":[{"delta":{"content":null,"role":"assistant"}}]}',
        b'{"choices":[{"delta":{"reasoning_content":null,"tool_calls":null}}]}',
    ],
)
def test_a_chunk_without_text_is_nothing(data: bytes) -> None:
    assert check("openai", data) == ""


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"ping"}',
        b'{"type":"content_block_delta","delta":{"type":"citations_delta","citation":{}}}',
        b'{"type":"content_block_delta","delta":null}',
        b'{"type":"content_block_delta"}',
    ],
)
def test_an_event_without_text_is_nothing(data: bytes) -> None:
    assert check("anthropic", data) == ""


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"content_block_stop","index":0}',
        b'{"type":"content_block_start","content_block":{"type":"tool_use"}}',
        b'{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}',
        b'{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}',
        b'{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"s"}}',
    ],
)
def test_an_event_of_tools_or_reasoning_is_for_the_whole_decoder(data: bytes) -> None:
    assert check("anthropic", data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[DONE]",
        b"null",
        b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}',
        b'{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"delta":{"content":"x"}}],"error":{"message":"x"}}',
        b'{"choices":[{"delta":{"refusal":"no"}}]}',
        b'{"choices":[{"delta":{"content":"x","tool_calls":[]}}]}',
        b'{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"id":"c"}]}}]}',
        b'{"choices":[{"delta":{"content":"","reasoning_content":"hm"}}]}',
        b'{"choices":[{"delta":{"content":"","reasoning":"hm"}}]}',
        b'{"choices":[{"index":1,"delta":{"content":"x"}}]}',
        b'{"choices":[{"delta":{"content":"x"}},{"index":1,"delta":{"content":"y"}}]}',
        # Twice, or named with an escape: which one counts is the decoder's to say.
        b'{"choices":[{"delta":{"content":"x","content":"y"}}]}',
        b'{"choices":[],"choices":[{"delta":{"content":"y"}}]}',
        b'{"choices":[{"delta":{"cont\\u0065nt":"x"}}]}',
        # Not JSON.
        b'{"choices":[{"delta":{"content":"x"}}]',
        b'{"choices":[{"delta":{"content":"x"}}]}}',
        b'{"choices":[{"delta":{"content":"x"}}]} x',
        b'{"choices":[{"delta":{"content":"x"},}]}',
        b'{"choices":[{"delta":{"content":"x\n"}}]}',
        b'{"choices":[{"delta":{"content":"\\x"}}]}',
        b'{"choices":[{"delta":{"content":"\\u12"}}]}',
        b'{"choices":[{"delta":{"content":"\\u12g4"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800\\u0041"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800\\ud800"}}]}',
        b'{"choices":[{"delta":{"content":"\\udc00"}}]}',
        b'{"choices":[{"index":-0,"delta":{"content":"x"}}]}',
        b'{"choices":[{"index":00,"delta":{"content":"x"}}]}',
        b'{"a":- 1,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":01,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":1.,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":.5,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":nul,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":"\xff","choices":[{"delta":{"content":"x"}}]}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b'{"a":' * 100_000,
        # Valid, but left to the decoder.
        b'{"a":1e5,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":12345678901234567890,"choices":[{"delta":{"content":"x"}}]}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b',"choices":[{"delta":{"content":"x"}}]}',
    ],
)
def test_what_is_more_than_text_or_no_json_is_left_to_the_decoder(data: bytes) -> None:
    assert openai_text(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"type":7}',
        b'{"type":"message_stop"}',
        b'{"type":"ping","error":{}}',
        b'{"type":"content\\u005fblock_delta","delta":{"text":"x"}}',
        b'{"type":"content_block_delta","delta":{"text":"x"},"usage":{"output_tokens":-1}}',
        b'{"type":"content_block_delta","delta":{"text":"x","stop_reason":"end_turn"}}',
        b'{"type":"content_block_delta","type":"ping","delta":{"text":"x"}}',
        b'{"type":"content_block_delta","delta":{"text":7}}',
    ],
)
def test_what_is_no_plain_event_is_left_to_the_decoder(data: bytes) -> None:
    assert anthropic_text(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"messageStart":{"role":"assistant"}}',
        b'{"contentBlockDelta":null}',
        b'{"contentBlockDelta":{"delta":{"citation":{"title":"x"}},"contentBlockIndex":12}}',
        b'{"contentBlockDelta":{"delta":{"text":null,"toolUse":null}},"messageStop":null}',
    ],
)
def test_a_message_of_converse_without_text_is_nothing(data: bytes) -> None:
    assert check("bedrock", data) == ""


@pytest.mark.parametrize(
    "data",
    [
        b'{"messageStop":{"stopReason":"end_turn"}}',
        b'{"metadata":{}}',
        b'{"exception":{"throttlingException":{}}}',
        b'{"contentBlockStart":{"start":{}}}',
        b'{"contentBlockStop":{"contentBlockIndex":0}}',
        b'{"contentBlockDelta":{"delta":{"toolUse":{"input":"{"}},"contentBlockIndex":0}}',
        b'{"contentBlockDelta":{"delta":{"reasoningContent":{"text":"hm"}}}}',
        b'{"contentBlockDelta":{"delta":{"text":"x","toolUse":{"input":"{"}}}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"},"start":{}}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"},"contentBlockIndex":null}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"},"contentBlockIndex":-1}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"},"contentBlockIndex":01}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"},"contentBlockIndex":1.5}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"}},"contentBlockDelta":{}}',
        b'{"contentBlockDelta":{"delta":{"text":7}}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"}}',
        b'{"contentBlockDelta":{"delta":{"text":"x"}}}}',
    ],
)
def test_what_is_no_plain_message_of_converse_is_left_to_the_decoder(data: bytes) -> None:
    assert bedrock_text(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"candidates":[]}',
        b'{"candidates":[{}],"modelVersion":"m"}',
        b'{"candidates":[{"content":null}]}',
        b'{"candidates":[{"content":{"role":"model"},"safetyRatings":[]}]}',
        b'{"candidates":[{"content":{"parts":[]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"","thought":null}]},"finishReason":null}]}',
    ],
)
def test_a_chunk_of_gemini_without_text_is_nothing(data: bytes) -> None:
    assert check("gemini", data) == ""


@pytest.mark.parametrize(
    "data",
    [
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishMessage":"why"}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x","thought":true}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x","thoughtSignature":"s"}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":""}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"},{"text":"y"}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]},"index":1}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}},{"index":1}]}',
        b'{"candidates":[{"content":{"parts":[{"text":7}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"error":{"code":500}}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"responseId":7}',
        b'{"promptFeedback":{"blockReason":"SAFETY"}}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}]',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"a":}}',
    ],
)
def test_what_is_no_plain_chunk_of_gemini_is_left_to_the_decoder(data: bytes) -> None:
    assert gemini_text(data) is None


def test_what_each_chunk_of_gemini_repeats_is_passed_over_once_it_is_known() -> None:
    data = gemini_delta("x")[:-1] + b',"responseId":"r","usageMetadata":{"promptTokenCount":3}}'
    assert gemini_text(data) == "x"
    assert gemini_text(data, id_known=False) is None


def test_an_id_is_left_to_the_decoder_until_it_is_known() -> None:
    data = openai_delta("x")
    assert openai_text(data, id_known=False) is None
    assert openai_text(data, id_known=True) == "x"
    assert openai_text(b'{"id":null,"choices":[]}', id_known=False) == ""


def test_every_character_is_read_raw_and_escaped() -> None:
    for start in range(0, 0x110000, 0x100):
        if 0xD800 <= start <= 0xDFFF:
            continue
        text = "".join(map(chr, range(start, start + 0x100)))
        assert openai_text(openai_delta(text, ascii_only=True)) == text
        assert openai_text(openai_delta(text, ascii_only=False)) == text


def test_utf8_is_valid_as_python_says() -> None:
    # Every lead byte, with what may follow it at the edges of RFC 3629's table.
    edges = (0x00, 0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for first in range(0x80, 0x100):
        for second in edges:
            for rest in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf", b"\x80\x80\x80", b"\x7f"):
                body = bytes([first, second]) + rest
                try:
                    text = json.loads(f'"{body.decode()}"')
                except ValueError:
                    text = None
                assert openai_text(b'{"choices":[{"delta":{"content":"' + body + b'"}}]}') == text


DATA = st.sampled_from(
    [
        ("openai", openai_delta('Grüße "\\\n 😀')),
        ("openai", openai_delta("Grüße 😀", ascii_only=False)),
        ("openai", openai_delta(None)),
        ("openai", b'{"a":[{"b":-1.5},"\\ud83d\\ude00"],"choices":[{"delta":{"content":"x"}}]}'),
        ("anthropic", anthropic_delta('Grüße "\\\n 😀')),
        ("anthropic", anthropic_delta("Grüße 😀", ascii_only=False)),
        ("anthropic", b'{"type":"ping"}'),
        ("bedrock", bedrock_delta('Grüße "\\\n 😀')),
        ("bedrock", bedrock_delta(None)),
        ("bedrock", b'{"messageStart":{"role":"assistant"}}'),
        ("gemini", gemini_delta('Grüße "\\\n 😀')),
        ("gemini", gemini_delta("Grüße 😀", ascii_only=False)),
        ("gemini", b'{"candidates":[{"content":{"parts":[]}}]}'),
    ]
)
PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [b'"', b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"{", b"}", b"[", b"]", b",", b":", b"null",
         b"0", b"-", b".", b"e", b" ", b'"content":', b'"text":"x",', b'"delta":{', b"\xf0\x9f",
         b"\xed\xa0\x80", b'"error":null,', b'"usage":{},', b'"index":0,', b'"type":"ping",',
         b'"metadata":null,', b'"contentBlockIndex":1,',
         b'"thought":null,', b'"finishReason":null,']
    ),
)  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), PIECES), max_size=3)


@given(data=DATA, edits=EDITS)
@settings(deadline=None, max_examples=1500)
def test_hostile_changes_are_read_as_the_decoder_reads_them(
    data: tuple[str, bytes], edits: list[tuple[int, int, bytes]]
) -> None:
    name, changed = data
    for at, size, piece in edits:
        at %= len(changed) + 1
        changed = changed[:at] + piece + changed[at + size :]
    check(name, changed)


@given(data=DATA, at=st.integers(0, 400))
@settings(deadline=None)
def test_a_delta_that_breaks_off_is_no_delta(data: tuple[str, bytes], at: int) -> None:
    name, whole = data
    assert SCANNERS[name](whole[: at % len(whole)]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "content",
                    "index",
                    "usage",
                    "type",
                    "text",
                    "id",
                    "error",
                    "contentBlockDelta",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(value=JSON, text=st.text(), ascii_only=st.booleans())
@settings(deadline=None, max_examples=200)
@example(value=[[1e300]], text="x", ascii_only=True)
def test_any_json_beside_the_text_is_read_as_the_decoder_reads_it(
    value: object, text: str, ascii_only: bool
) -> None:
    choice = {"delta": {"content": text, "zork": value}, "index": 0}
    for name, fields in (
        ("openai", {"zork": value, "choices": [choice]}),
        ("openai", {"choices": [value], "id": None}),
        ("openai", {"choices": value}),
        ("anthropic", {"type": "content_block_delta", "zork": value, "delta": {"text": text}}),
        ("anthropic", {"type": "content_block_delta", "delta": value}),
        ("bedrock", {"zork": value, "contentBlockDelta": {"delta": {"text": text}, "a": value}}),
        ("bedrock", {"contentBlockDelta": {"contentBlockIndex": value, "delta": value}}),
        ("bedrock", {"contentBlockDelta": value}),
    ):
        check(name, json.dumps(fields, ensure_ascii=ascii_only).encode())


@given(data=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    for name in SCANNERS:
        check(name, data)
        check(name, b'{"choices":[{"delta":{"content":"' + data + b'"}}]}')
        check(name, b'{"type":"content_block_delta","delta":{"text":"' + data + b'"}}')
        check(name, b'{"contentBlockDelta":{"delta":{"text":"' + data + b'"}}}')
