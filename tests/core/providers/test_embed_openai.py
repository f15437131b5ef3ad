"""OpenAI's vectors: what is asked, and that only a whole and sound answer is one."""

import json
import struct
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.chat import Embeds
from harmost.core.providers.codec import ProviderError
from harmost.core.providers.embed import Embedded, EmbedRequest
from harmost.core.providers.embed_openai import OpenAiEmbedCodec

CODEC = OpenAiEmbedCodec()
TWO = EmbedRequest(vendor_model_id="m", texts=("a", "b"))
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def floats(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def body(*vectors: object, usage: object = {"prompt_tokens": 3, "total_tokens": 3}) -> bytes:
    data = [
        {"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(vectors)
    ]
    return json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()


def answer(body: bytes, request: EmbedRequest = TWO) -> Embedded:
    found = CODEC.answer(body, request)
    assert isinstance(found, Embedded), found
    return found


def test_base64_is_asked_for_and_dimensions_only_where_they_are_wanted() -> None:
    request = CODEC.request(TWO)
    assert request.path == "/embeddings"
    assert request.headers["accept"] == "application/json"
    assert json.loads(request.body) == {
        "model": "m",
        "input": ["a", "b"],
        "encoding_format": "base64",
    }
    fewer = EmbedRequest(vendor_model_id="m", texts=("a",), embeds=Embeds(dimensions=8))
    assert json.loads(CODEC.request(fewer).body)["dimensions"] == 8


def test_a_purpose_is_left_out_and_told() -> None:
    assert CODEC.fit("m", Embeds(purpose="query")).drops == ("purpose",)
    assert CODEC.fit("m", Embeds(dimensions=3)) == ((), ())


@given(st.lists(st.lists(FLOAT32, min_size=3, max_size=3), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_base64_and_digits_give_the_same_vectors(vectors: list[list[float]]) -> None:
    said = answer(body(*(packed(*each) for each in vectors)))
    assert [floats(each) for each in said.vectors] == vectors
    assert answer(body(*vectors)).vectors == said.vectors


def test_usage_is_what_the_provider_counted_and_none_where_it_says_none() -> None:
    said = answer(body([1.0], [2.0]))
    assert said.usage is not None
    assert (said.usage.input_tokens, said.usage.output_tokens, said.usage.exact) == (3, 0, True)
    for usage in (None, {}, {"prompt_tokens": None}, {"prompt_tokens": 0}):
        assert answer(body([1.0], [2.0], usage=usage)).usage is None


def test_vectors_in_another_order_are_put_in_ours() -> None:
    said = json.loads(body([1.0], [2.0]))
    said["data"].reverse()
    assert [floats(each) for each in answer(json.dumps(said).encode()).vectors] == [[1.0], [2.0]]


def indexed(*places: object) -> bytes:
    data = [{"index": place, "embedding": [1.0]} for place in places]
    return json.dumps({"data": data}).encode()


BAD: dict[str, bytes] = {
    "too few": body([1.0]),
    "too many": body([1.0], [2.0], [3.0]),
    "none": body(),
    "unequal": body([1.0], [1.0, 2.0]),
    "without numbers": body([], []),
    "not a number": body(packed(1.0), packed(float("nan"))),
    "infinite": body(packed(float("inf")), packed(float("-inf"))),
    "infinite in digits": body([1e999], [1.0]),
    "beyond float32": body([1e39], [1.0]),
    "half a float": body(b64encode(b"abcde").decode(), packed(1.0)),
    "no base64": body("!!!!", packed(1.0)),
    "too long": body([0.0] * 65_537, [0.0] * 65_537),
    "text": body(["1"], ["2"]),
    "same index twice": indexed(0, 0),
    "an index is missing": indexed(0, 2),
    "negative index": indexed(-1, 0),
    "no data": b'{"object":"list"}',
    "an error": b'{"error":{"message":"no"}}',
    "cut": body([1.0], [2.0])[:-9],
    "empty": b"",
    "no UTF-8": b'{"data":[{"embedding":"\xff\xfe"}]}',
    "deep": b"[" * 100_000,
    "usage is a lie": body([1.0], [2.0], usage={"prompt_tokens": -1}),
    "usage is huge": body([1.0], [2.0], usage={"prompt_tokens": 10**30}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_answer_is_a_broken_one(name: str) -> None:
    found = CODEC.answer(BAD[name], TWO)
    assert isinstance(found, ProviderError)
    assert found.kind == "broken"
    assert len(found.message) <= 500


def test_another_number_of_dimensions_than_asked_for_is_a_broken_answer() -> None:
    asked = EmbedRequest(vendor_model_id="m", texts=("a", "b"), embeds=Embeds(dimensions=2))
    found = CODEC.answer(body([1.0], [2.0]), asked)
    assert isinstance(found, ProviderError)
    assert "vectors of 1 numbers, and 2 were asked for" in found.message


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_bytes_make_it_raise(garbage: bytes) -> None:
    found: Any = CODEC.answer(garbage, TWO)
    assert isinstance(found, ProviderError)
