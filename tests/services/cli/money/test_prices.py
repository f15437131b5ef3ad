"""`harmost prices` of the built-in list alone."""

from typing import Any

import pytest


def test_a_listed_model_shows_what_it_costs(harmost: Any) -> None:
    ran = harmost("prices", "show", "claude-sonnet-4-5", "--vendor", "anthropic")
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "input 3.00 /M" in lines
    assert "cache_write_1h 6.00 /M" in lines
    assert "output above 200,000 input tokens 22.50 /M" in lines
    assert "a call of web_search 0.01" in lines
    assert not any(line.startswith("audio_input") for line in lines)
    assert "genai-prices" in ran.err


def test_a_price_of_the_past_is_shown_by_its_day(harmost: Any) -> None:
    words = ("prices", "show", "o3", "--vendor", "openai", "--json", "--at")
    then, now = harmost(*words, "2025-06-01").json, harmost(*words, "2026-06-01").json
    assert then["price"]["output_usd_picos"] == 40_000_000
    assert now["price"]["output_usd_picos"] == 8_000_000
    assert then["price"]["version"] != now["price"]["version"]
    assert [one["since"] for one in now["prices"]] == ["", "2025-06-10"]


def test_a_model_without_a_price_says_why(harmost: Any) -> None:
    ran = harmost("prices", "show", "whisper-1", "--vendor", "openai")
    assert ran.code == 0
    assert "no price: the built-in list has it billed by audio_hours" in ran.out
    assert "a hard budget in US dollars denies it" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("m", "--vendor", "nobody"), "the built-in list has no vendor `nobody`: use anthropic"),
        (("m", "--vendor", "openai"), "the built-in list has no model `m` of `openai`"),
        (("o3", "--vendor", "openai", "--at", "today"), "`today` is no day"),
    ],
)
def test_who_types_a_wrong_thing_is_told_what_to_do(
    harmost: Any, words: tuple[str, ...], message: str
) -> None:
    ran = harmost("prices", "show", *words)
    assert ran.code == 1
    assert message in ran.err
