"""Estimates against real tokenizers, on texts that nothing was learned from."""

import pytest
from effort import effort
from token_corpora import corpora, halves
from token_errors import errors, percentile
from vocabularies import VOCABULARIES, counter

ERROR_P95_MAX = 0.17
TRIED = list(VOCABULARIES)[: effort(2, ci=4, nightly=4)]


def test_there_are_corpora_of_languages_code_json_and_markdown() -> None:
    names = set(corpora())
    assert {"python", "go", "c", "javascript", "json", "markdown", "html", "log"} <= names
    assert sum(name.startswith("language-") for name in names) >= 40
    for name, chunks in corpora().items():
        assert all(halves(chunks)), name  # something to learn from and something to measure on


@pytest.mark.parametrize("vocabulary", TRIED)
def test_p95_of_the_error_is_at_most_17_percent(vocabulary: str) -> None:
    measured = [error for _, error in errors(vocabulary)]
    assert len(measured) >= 700
    assert percentile(measured, 95) <= ERROR_P95_MAX


@pytest.mark.parametrize("vocabulary", TRIED)
def test_p95_of_the_error_is_at_most_20_percent_where_one_profile_sends_it_all(
    vocabulary: str,
) -> None:
    measured = [error for _, error in errors(vocabulary, own_profiles=False)]
    assert percentile(measured, 95) <= 0.2


def test_the_vocabularies_are_the_real_ones() -> None:
    """By cl100k_base, as the OpenAI cookbook prints its counts."""
    count = counter("openai-cl100k")
    assert [count(text) for text in ("tiktoken is great!", "2 + 2 = 4", "お誕生日おめでとう")] == [
        6,
        7,
        9,
    ]
