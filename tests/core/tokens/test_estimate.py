"""The bound holds for every text."""

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.tokens.estimate import (
    MESSAGE_OVERHEAD_TOKENS,
    REQUEST_OVERHEAD_TOKENS,
    bytes_bound,
    estimate_of_bytes,
)
from harmost.core.tokens.measure import Shape


def test_the_bound_is_bytes_and_what_the_template_adds() -> None:
    assert bytes_bound(8, 2) == REQUEST_OVERHEAD_TOKENS + 2 * MESSAGE_OVERHEAD_TOKENS + 8
    assert bytes_bound(0, 0) == REQUEST_OVERHEAD_TOKENS


def test_an_answer_of_any_bytes_has_a_token() -> None:
    assert [estimate_of_bytes(size) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]


@given(texts=st.lists(st.text(st.characters(codec=None)), max_size=4))
def test_a_shape_has_no_more_tokens_than_its_bound(texts: list[str]) -> None:
    """A lone surrogate, which JSON can carry, costs three bytes."""
    shape = Shape(texts)
    assert shape.messages == len(texts)
    assert shape.utf8_bytes == sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert shape.tokens <= bytes_bound(shape.utf8_bytes, shape.messages)
