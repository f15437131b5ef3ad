"""The compiled pass adds up what the table says, for every text; a slow twin does the same."""

import json
from bisect import bisect_right
from importlib.resources import files
from itertools import pairwise

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.tokens.classes import CLASSES, GROUPS
from harmost.core.tokens.measure import Shape

TABLE = files("harmost.core.tokens").joinpath("costs.jsonl").read_text().splitlines()
COSTS = [json.loads(line)["millitokens"] for line in TABLE]
SPANS = sorted(
    (first, last, number)
    for number, character_class in enumerate(CLASSES)
    for first, last in character_class.spans
)
# Text, and its tokens by cl100k_base as the OpenAI cookbook prints them.
KNOWN = [
    ("tiktoken is great!", 6),
    ("antidisestablishmentarianism", 6),
    ("2 + 2 = 4", 7),
    ("お誕生日おめでとう", 9),
]
any_text = st.text(st.characters(codec=None))  # lone surrogates too
one_width = st.one_of(
    st.text(st.characters(max_codepoint=0xFF)),
    st.text(st.characters(max_codepoint=0xFFFF)),
    any_text,
)


def class_of(character: str) -> int:
    place = bisect_right(SPANS, (ord(character), 0x110000, 0)) - 1
    if place < 0:
        return 0
    _, last, number = SPANS[place]
    return number if ord(character) <= last else 0


def slow(texts: list[str]) -> tuple[int, ...]:
    """Millitokens by group, a character at a time."""
    sums = dict.fromkeys(GROUPS, 0)
    for text in texts:
        before = class_of(" ")
        for character in text:
            here = class_of(character)
            sums[CLASSES[here].group] += COSTS[before][here]
            before = here
    return tuple(sums.values())


@settings(max_examples=effort(150, ci=3_000, nightly=100_000), deadline=None)
@given(texts=st.lists(one_width, max_size=4))
def test_it_is_the_slow_twins(texts: list[str]) -> None:
    shape = Shape(texts)
    assert shape.millitokens == slow(texts)
    assert shape.tokens == -(-sum(slow(texts)) // 1000)
    assert shape.messages == len(texts)
    assert shape.utf8_bytes == sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def test_every_code_point_is_in_the_class_that_the_slow_twin_finds() -> None:
    step = effort(257, ci=7, nightly=1)
    edges = {edge + d for first, last, _ in SPANS for edge in (first, last) for d in (-1, 0, 1)}
    for code in {*range(0, 0x110000, step), *edges} - {-1}:
        assert Shape([chr(code)]).millitokens == slow([chr(code)]), hex(code)


@given(one=any_text, more=any_text)
def test_it_grows_with_text_and_never_exceeds_its_bytes(one: str, more: str) -> None:
    whole = Shape([one + more])
    assert 0 <= Shape([one]).tokens <= whole.tokens <= whole.utf8_bytes


def test_nothing_has_no_tokens() -> None:
    assert Shape([]).tokens == Shape([""]).tokens == 0
    assert (Shape([]).messages, Shape([""]).messages) == (0, 1)


def test_it_is_within_a_factor_of_two_of_published_counts_of_short_texts() -> None:
    for text, tokens in KNOWN:
        assert tokens / 2 <= Shape([text]).tokens <= tokens * 2, text


def test_messages_are_measured_apart() -> None:
    assert Shape(["a", "b"]).millitokens != Shape(["ab"]).millitokens
    assert Shape(["a", "b"]).utf8_bytes == 2


@pytest.mark.parametrize("wrong", [[None], [b"bytes"], [1], None, 7])
def test_what_is_no_text_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        Shape(wrong)  # type: ignore[arg-type]


def test_the_table_has_a_row_and_a_column_for_each_class_and_no_negative_cost() -> None:
    assert [json.loads(line)["after"] for line in TABLE] == [c.name for c in CLASSES]
    assert all(len(row) == len(CLASSES) and min(row) >= 0 for row in COSTS)


def test_no_code_point_is_in_two_classes() -> None:
    assert all(one[1] < other[0] for one, other in pairwise(SPANS))
