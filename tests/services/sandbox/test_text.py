"""Text whose tokens can be counted: four bytes each."""

import pytest

from harmost.services.sandbox.text import lognormal, tokens_of, words


@pytest.mark.parametrize("tokens", [0, 1, 2, 1000, 65_536, 200_000])
def test_text_has_as_many_tokens_as_asked(tokens: int) -> None:
    text = words(7, tokens)
    assert len(text) == 4 * tokens
    assert tokens_of(len(text)) == tokens
    assert text.isascii()


def test_a_seed_has_its_text() -> None:
    assert words(1, 50) == words(1, 50)
    assert words(1, 50) != words(2, 50)
    assert words(1, 50)[:100] == words(1, 40)[:100]


def test_tokens_are_rounded_up() -> None:
    assert [tokens_of(n) for n in range(6)] == [0, 1, 1, 1, 1, 2]


def test_draws_lie_around_their_median() -> None:
    draws = sorted(lognormal(seed, median=10, sigma=0.5) for seed in range(2001))
    assert 9.3 < draws[1000] < 10.7
    assert draws[0] > 1
    assert draws[-1] < 100
    assert lognormal(3, median=10, sigma=0) == 10
