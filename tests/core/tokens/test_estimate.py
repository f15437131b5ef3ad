"""The bound holds for every text."""

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import Message
from harmost.core.tokens.estimate import (
    MESSAGE_OVERHEAD_TOKENS,
    REQUEST_OVERHEAD_TOKENS,
    bytes_bound,
    estimate_of_bytes,
    input_tokens_max,
)
from harmost.core.tokens.measure import Shape


def test_the_bound_is_bytes_and_what_the_template_adds() -> None:
    messages = [Message("system", "a"), Message("user", "\u4e2d\U0001f4b3")]
    assert input_tokens_max(messages) == (
        REQUEST_OVERHEAD_TOKENS + 2 * MESSAGE_OVERHEAD_TOKENS + 1 + 3 + 4
    )
    assert input_tokens_max([]) == REQUEST_OVERHEAD_TOKENS


def test_lone_surrogates_are_counted() -> None:
    assert input_tokens_max([Message("user", "\ud800")]) == (
        REQUEST_OVERHEAD_TOKENS + MESSAGE_OVERHEAD_TOKENS + 3
    )


def test_an_answer_of_any_bytes_has_a_token() -> None:
    assert [estimate_of_bytes(size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


@given(texts=st.lists(st.text(st.characters(codec=None)), max_size=4))
def test_the_bound_of_a_shape_is_that_of_its_messages(texts: list[str]) -> None:
    shape = Shape(texts)
    bound = input_tokens_max([Message("user", text) for text in texts])
    assert bytes_bound(shape.utf8_bytes, shape.messages) == bound
    assert shape.tokens <= bound
