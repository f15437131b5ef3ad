"""The bound holds for every text; the estimate is near for usual text."""

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import Message
from harmost.core.tokens.estimate import (
    MESSAGE_OVERHEAD_TOKENS,
    REQUEST_OVERHEAD_TOKENS,
    estimate,
    input_tokens_max,
)

# Text, and its tokens by cl100k_base as the OpenAI cookbook prints them.
KNOWN = [
    ("tiktoken is great!", 6),
    ("antidisestablishmentarianism", 6),
    ("2 + 2 = 4", 7),
    ("お誕生日おめでとう", 9),
]


def test_the_bound_is_bytes_and_what_the_template_adds() -> None:
    messages = [Message.of("system", "a"), Message.of("user", "\u4e2d\U0001f4b3")]
    assert input_tokens_max(messages) == (
        REQUEST_OVERHEAD_TOKENS + 2 * MESSAGE_OVERHEAD_TOKENS + 1 + 3 + 4
    )
    assert input_tokens_max([]) == REQUEST_OVERHEAD_TOKENS


def test_the_bound_holds_for_published_counts() -> None:
    for text, tokens in KNOWN:
        assert tokens <= input_tokens_max([Message.of("user", text)]) - REQUEST_OVERHEAD_TOKENS


def test_the_estimate_is_within_a_factor_of_three_of_published_counts() -> None:
    for text, tokens in KNOWN:
        assert tokens / 3 <= estimate(text) <= tokens * 3, text


def test_no_text_has_no_tokens() -> None:
    assert estimate("") == 0
    assert estimate("a") == 1


def test_lone_surrogates_are_counted() -> None:
    assert estimate("\ud800") == 1
    assert input_tokens_max([Message.of("user", "\ud800")]) == (
        REQUEST_OVERHEAD_TOKENS + MESSAGE_OVERHEAD_TOKENS + 3
    )


@given(text=st.text(), more=st.text())
def test_the_estimate_grows_with_text_and_stays_below_the_bound(text: str, more: str) -> None:
    assert 0 <= estimate(text) <= estimate(text + more)
    assert estimate(text + more) <= estimate(text) + estimate(more)
    assert estimate(text) <= input_tokens_max([Message.of("user", text)])
