"""What each vendor's usage shapes mean, and what they cost: tables beside this file, one for a shape.

`usd_nanos` is by the price below: input $1 a million tokens, read from the cache $0.1, written to it
$1.25 and $2, audio $8; output $5, reasoning $6, audio $20; a search one cent.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.price import compile_price, cost_usd_nanos
from harmost.core.providers.anthropic import AnthropicCodec
from harmost.core.providers.codec import Codec, Event, UsageReported
from harmost.core.providers.cohere import CohereCodec
from harmost.core.providers.openai import OpenAiCodec
from harmost.core.providers.usage.anthropic import AnthropicUsage
from harmost.core.providers.usage.bedrock import BedrockUsage
from harmost.core.providers.usage.cohere import CohereUsage
from harmost.core.providers.usage.gemini import GeminiUsage
from harmost.core.providers.usage.openai import ChatUsage, ResponsesUsage
from harmost.core.providers.usage.shape import ContradictoryUsage
from harmost.core.resources.kinds import Price
from harmost.core.usage import TokenUsage

SHAPES: dict[str, Any] = {
    "openai": ChatUsage,
    "responses": ResponsesUsage,
    "anthropic": AnthropicUsage,
    "gemini": GeminiUsage,
    "bedrock": BedrockUsage,
    "cohere": CohereUsage,
}
PRICE = compile_price(
    Price(
        input="1",
        cached_input="0.1",
        cache_write_5m="1.25",
        cache_write_1h="2",
        audio_input="8",
        output="5",
        reasoning_output="6",
        audio_output="20",
        tools={"web_search": "0.01"},
    )
)


class Golden(msgspec.Struct):
    name: str
    usage: dict[str, Any]
    normal: dict[str, Any] | None
    usd_nanos: int = 0


def golden(vendor: str) -> list[Golden]:
    lines = Path(__file__).with_name(f"{vendor}.jsonl").read_text().splitlines()
    return [msgspec.json.decode(line, type=Golden) for line in lines]


CASES = [
    pytest.param(vendor, case, id=f"{vendor}: {case.name}")
    for vendor in SHAPES
    for case in golden(vendor)
]


def read(vendor: str, usage: object) -> TokenUsage | None:
    said = msgspec.json.decode(json.dumps(usage), type=SHAPES[vendor])
    normal: TokenUsage | None = said.normal(exact=True)
    return normal


@pytest.mark.parametrize(("vendor", "case"), CASES)
def test_a_usage_has_one_normal_form_and_one_cost(vendor: str, case: Golden) -> None:
    normal = read(vendor, case.usage)
    if case.normal is None:
        assert normal is None  # absent is not zero
        return
    assert normal == TokenUsage(**case.normal)
    assert cost_usd_nanos(PRICE, normal) == case.usd_nanos


def data(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def streamed(codec: Codec, *frames: bytes) -> TokenUsage | None:
    """The last usage that a stream of these events tells."""
    reader = codec.reader()
    events: list[Event] = [event for frame in frames for event in reader.take(frame)]
    told = [event.usage for event in events if isinstance(event, UsageReported)]
    return told[-1] if told else None


@pytest.mark.parametrize("case", golden("openai"), ids=lambda case: case.name)
def test_openai_streamed_is_as_openai_whole(case: Golden) -> None:
    finish = data(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    said = data(choices=[], usage=case.usage)
    assert streamed(OpenAiCodec(), finish, said) == read("openai", case.usage)


@pytest.mark.parametrize("case", golden("cohere"), ids=lambda case: case.name)
def test_cohere_streamed_is_as_cohere_whole(case: Golden) -> None:
    said = data(type="message-end", delta={"finish_reason": "COMPLETE", "usage": case.usage})
    assert streamed(CohereCodec(), said) == read("cohere", case.usage)


@given(case=st.sampled_from(golden("anthropic")), cut=st.data())
def test_anthropic_streamed_in_any_pieces_is_as_anthropic_whole(
    case: Golden, cut: st.DataObject
) -> None:
    """What is about the output comes at the end; the rest may come in either event, or both."""
    begins: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    for name, value in case.usage.items():
        of_output = name.startswith("output")
        where = "end" if of_output else cut.draw(st.sampled_from(["start", "end", "both"]))
        if where != "end":
            begins[name] = value
        if where != "start":
            ends[name] = value
    begins |= {"output_tokens": 1} if "output_tokens" in ends else {}
    told = streamed(
        AnthropicCodec(),
        data(type="message_start", message={"id": "m", "usage": begins}),
        data(type="message_delta", delta={"stop_reason": "end_turn"}, usage=ends),
    )
    assert told == read("anthropic", case.usage)


CONTRADICTIONS = [
    ("openai", {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 2}),
    (
        "openai",
        {
            "prompt_tokens": 1,
            "completion_tokens": 3,
            "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 2},
        },
    ),
    ("responses", {"input_tokens": 1, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 2}}),
    ("anthropic", {"input_tokens": 1, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 2}}),
    ("gemini", {"promptTokenCount": 1, "cachedContentTokenCount": 2}),
    ("gemini", {"promptTokenCount": 1, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}]}),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "usage"), CONTRADICTIONS)
def test_a_part_larger_than_its_whole_is_not_believed(vendor: str, usage: object) -> None:
    with pytest.raises(ContradictoryUsage, match="larger than its whole"):
        read(vendor, usage)


@pytest.mark.parametrize(
    ("vendor", "usage"),
    [
        ("openai", {"prompt_tokens": -1}),
        ("openai", {"prompt_tokens": 10**18}),
        ("responses", {"input_tokens": 1.5}),
        ("anthropic", {"output_tokens": "12"}),
        ("anthropic", {"server_tool_use": {"web_search_requests": 10**7}}),
        ("gemini", {"promptTokenCount": True}),
        ("gemini", {"promptTokensDetails": {}}),
        ("bedrock", {"inputTokens": [], "outputTokens": 1}),
        ("cohere", {"billed_units": {"input_tokens": -0.5}}),
        ("cohere", {"billed_units": {"input_tokens": 1e300}}),
    ],
)
def test_what_is_no_count_is_unreadable(vendor: str, usage: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(vendor, usage)


counts = (
    st.none()
    | st.integers(-2, 5_000)
    | st.floats(-1, 5_000)
    | st.sampled_from(["TEXT", "AUDIO", "1h"])
)


@given(vendor=st.sampled_from(list(SHAPES)), drawn=st.data())
def test_whatever_is_said_the_parts_fit_their_wholes(vendor: str, drawn: st.DataObject) -> None:
    """Golden shapes with other numbers: refused, or parts that add up."""
    case = drawn.draw(st.sampled_from(golden(vendor)))
    try:
        normal = read(vendor, _other(case.usage, drawn))
    except (ContradictoryUsage, msgspec.ValidationError):
        return
    if normal is not None:
        assert _input_parts(normal) <= normal.input_tokens
        assert normal.reasoning_output_tokens + normal.audio_output_tokens <= normal.output_tokens
        assert min(msgspec.structs.astuple(normal)[:8]) >= 0


def _input_parts(usage: TokenUsage) -> int:
    return (
        usage.cached_input_tokens
        + usage.cache_write_5m_input_tokens
        + usage.cache_write_1h_input_tokens
        + usage.audio_input_tokens
    )


def _other(value: Any, drawn: st.DataObject) -> Any:
    if isinstance(value, dict):
        return {name: _other(inner, drawn) for name, inner in value.items()}
    if isinstance(value, list):
        return [_other(inner, drawn) for inner in value]
    return value if drawn.draw(st.integers(0, 3)) else drawn.draw(counts)
