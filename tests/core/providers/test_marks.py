"""Which marks a format of four takes, against a twin that tries every choice; no codec is silent on them."""

import itertools
from typing import get_args

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.chat import (
    CacheTtl,
    Generation,
    Message,
    MessageRole,
    Reasoning,
    Text,
    Tool,
)
from harmost.core.providers.codec import UpstreamRequest
from harmost.core.providers.marks import MARKS_MAX, marks, with_marks_that_fit
from harmost.core.providers.registry import CODECS, codec

TTLS = st.sampled_from(get_args(CacheTtl))
PARTS = st.one_of(st.builds(Text, st.just("a"), TTLS), st.just(Reasoning("hm", b"seal")))
MESSAGES = st.lists(
    st.builds(
        Message,
        st.sampled_from(get_args(MessageRole)),
        st.lists(PARTS, max_size=4).map(tuple),
    ),
    max_size=5,
)
TOOLS = st.lists(st.builds(Tool, st.just("f"), cache=TTLS), max_size=4).map(tuple)


def fits(chosen: tuple[str, ...]) -> bool:
    """What the vendor says."""
    in_order = sorted(chosen, key=("1h", "5m").index)
    return len(chosen) <= 4 and in_order == list(chosen)


def twin(asked: list[CacheTtl]) -> list[CacheTtl]:
    """Of all choices that fit: those of an hour first, then as many as can be, the last ones."""
    choices = (
        chosen
        for count in range(MARKS_MAX + 1)
        for chosen in itertools.combinations(range(len(asked)), count)
        if fits(tuple(asked[n] for n in chosen))
    )

    def worth(chosen: tuple[int, ...]) -> tuple[object, ...]:
        last_hour = max((n for n, ttl in enumerate(asked) if ttl == "1h"), default=-1)
        covers = last_hour == -1 or last_hour in chosen or all(n > last_hour for n in chosen)
        return covers, sorted(chosen, reverse=True), len(chosen)

    return [asked[n] for n in max(choices, key=worth)]


@settings(max_examples=effort(60, ci=500, nightly=5_000), deadline=None)
@given(MESSAGES, TOOLS)
def test_the_marks_that_stay_are_those_that_reach_farthest(
    messages: list[Message], tools: tuple[Tool, ...]
) -> None:
    generation = Generation(tools=tools)
    asked = marks(messages, generation)
    held, said, dropped = with_marks_that_fit(messages, generation)
    kept = marks(held, said)
    assert kept == twin(asked)
    assert dropped == (kept != asked)
    assert [(m.role, m.text, len(m.parts)) for m in held] == [
        (m.role, m.text, len(m.parts)) for m in messages
    ]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("5m 5m 5m 5m 5m", "5m 5m 5m 5m"),
        ("5m 1h", "1h"),
        ("1h 5m", "1h 5m"),
        ("1h 1h 5m 5m 5m", "1h 5m 5m 5m"),
        ("1h 1h 1h 1h 1h 5m", "1h 1h 1h 5m"),
        ("1h 5m 5m 5m 5m", "5m 5m 5m 5m"),
        ("", ""),
    ],
)
def test_by_example(asked: str, kept: str) -> None:
    message = Message("user", tuple(Text("a", ttl) for ttl in asked.split()))  # type: ignore[arg-type]
    held, generation, _ = with_marks_that_fit([message], Generation())
    assert marks(held, generation) == kept.split()


def test_the_prompt_is_read_tools_first_and_system_before_the_rest() -> None:
    messages = [
        Message("user", (Text("c", "5m"),)),
        Message("system", (Text("b", "1h"),)),
    ]
    assert marks(messages, Generation(tools=(Tool("a", cache="1h"),))) == ["1h", "1h", "5m"]


@pytest.mark.parametrize("name", CODECS)
def test_no_codec_is_silent_on_marks(name: str) -> None:
    messages = (Message("user", (Text("hi", "5m"),)),)
    request = UpstreamRequest(vendor_model_id="m", messages=messages, output_tokens_max=9)
    said = b"cache" in codec(name).request(request).body
    told = "cache" in codec(name).fit(messages, Generation()).drops
    assert said != told
