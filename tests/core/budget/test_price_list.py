"""The built-in list against genai-prices, which it is made from: every model, every class."""

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from effort import effort
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider

from harmost.core.budget import price_list
from harmost.core.budget.price import cost_usd_nanos, worst_case_usd_nanos
from harmost.core.budget.price_book import DAY_S, DatedPrice, PriceSchedule
from harmost.core.budget.price_list import ListedModel, PriceList, built_in
from harmost.core.usage import TokenUsage

ROOT = Path(__file__).parents[3]
CONTEXTS = {"batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}}
FIRST, LAST = datetime(2023, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC)
LISTED = [(provider, model) for provider in providers for model in provider.models]


def at(listed: ListedModel, when: datetime) -> PriceSchedule:
    def since_s(text: str) -> int:
        return int(datetime.fromisoformat(f"{text}T00:00Z").timestamp()) if text else 0

    rows = [DatedPrice(since_s(r.since), r.from_s, r.until_s, r.price) for r in listed.rows]
    return PriceSchedule(rows, origin="test")


def usage_of(chance: random.Random) -> TokenUsage:
    top = chance.choice((10, 1_000, 100_000, 400_000))
    cached, write_5m, write_1h, audio, rest, reasoning, said, spoken = (
        chance.randrange(top) * chance.randrange(2) for _ in range(8)
    )
    return TokenUsage(
        input_tokens=cached + write_5m + write_1h + audio + rest,
        cached_input_tokens=cached,
        cache_write_5m_input_tokens=write_5m,
        cache_write_1h_input_tokens=write_1h,
        audio_input_tokens=audio,
        output_tokens=reasoning + said + spoken,
        reasoning_output_tokens=reasoning,
        audio_output_tokens=spoken,
    )


def theirs(
    model: ModelInfo, provider: Provider, usage: TokenUsage, when: datetime, tier: str
) -> Fraction:
    """What genai-prices itself says, in nanodollars."""
    writes = usage.cache_write_5m_input_tokens + usage.cache_write_1h_input_tokens
    asked = Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=writes,
        cache_write_5m_tokens=usage.cache_write_5m_input_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_input_tokens,
        input_audio_tokens=usage.audio_input_tokens,
        cache_audio_read_tokens=0,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_output_tokens,
        output_audio_tokens=usage.audio_output_tokens,
        web_searches=usage.tool_calls.get("web_search", 0),
    )
    found = model.calc_price(
        asked, provider, genai_request_timestamp=when, price_context=CONTEXTS.get(tier)
    )
    return Fraction(found.total_price) * 10**9


@pytest.mark.timeout(1_200)  # at night two million usages
def test_every_model_costs_what_genai_prices_says_within_rounding() -> None:
    """Nearest picodollar a token, up once to the nanodollar: nothing else may differ."""
    chance = random.Random(6)
    compared = 0
    for _ in range(effort(1, ci=20, nightly=1_000)):
        for provider, model in LISTED:
            tier = chance.choice(("standard", "standard", *CONTEXTS))
            listed = built_in().find(provider.id, model.id, service_tier=tier)
            found = provider.find_model(model.id, all_providers=providers)
            if found is None or listed is None:  # a few are not found by their own name
                assert found is listed
                continue
            assert found.id == listed.name
            if not listed.rows and tier != "standard":
                tier, listed = "standard", built_in().find(provider.id, model.id) or listed
            when = FIRST + timedelta(seconds=chance.randrange(int((LAST - FIRST).total_seconds())))
            price = at(listed, when).at(int(when.timestamp()))
            if price is None:
                assert not listed.rows
                continue
            usage = usage_of(chance)
            if "web_search" in price.tool_usd_picos:
                usage = _with_searches(usage, chance.randrange(5))
            cost = cost_usd_nanos(price, usage)
            off_nanos = Fraction(usage.total_tokens, 2_000)
            exact = theirs(found, provider, usage, when, tier)
            assert exact - off_nanos <= cost <= exact + off_nanos + 1, (listed, usage, when, tier)
            worst = worst_case_usd_nanos(
                price,
                input_tokens_max=usage.input_tokens,
                output_tokens_max=usage.output_tokens,
                tool_calls_max=usage.tool_calls,
            )
            assert cost <= worst
            compared += 1
    assert compared > len(LISTED) * 9 // 10 - 179  # those that are said to be free


def _with_searches(usage: TokenUsage, searches: int) -> TokenUsage:
    from msgspec.structs import replace

    return replace(usage, tool_calls={"web_search": searches})


def test_the_committed_list_is_what_the_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts/price-list"), "-"], capture_output=True, check=True
    )
    committed = ROOT / "core/harmost/core/budget/price_list.jsonl"
    assert made.stdout == committed.read_bytes(), "run `scripts/price-list`, and read the diff"


@pytest.mark.parametrize(
    ("base_url", "vendor"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.anthropic.com", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta", "google"),
        ("http://127.0.0.1:8000/v1", ""),
        ("https://llm.acme.example/v1", ""),
    ],
)
def test_a_vendor_is_known_by_its_url(base_url: str, vendor: str) -> None:
    assert built_in().vendor_at(base_url) == vendor


def test_names_are_found_as_genai_prices_finds_them() -> None:
    """Dates written either way, aliases, and another vendor's models that one resells."""
    names = [
        "gpt-4o-2024-08-06",
        "gpt-5.2-20251211",
        "GPT-4o-mini",
        "o3",
        "claude-sonnet-4-5",
        "no",
    ]
    for vendor in ("openai", "anthropic", "azure", "openrouter", "aws"):
        provider = next(one for one in providers if one.id == vendor)
        for name in names:
            theirs_found = provider.find_model(name, all_providers=providers)
            ours = built_in().find(vendor, name)
            assert (ours.name if ours else None) == (theirs_found.id if theirs_found else None)


def test_a_price_of_the_past_is_found_by_its_date() -> None:
    o3 = built_in().find("openai", "o3")
    assert o3 is not None
    usage = TokenUsage(input_tokens=1_000, output_tokens=200)
    for day, nanos in ((datetime(2025, 6, 1, tzinfo=UTC), 18_000_000), (LAST, 3_600_000)):
        price = at(o3, day).at(int(day.timestamp()))
        assert price is not None
        assert cost_usd_nanos(price, usage) == nanos


def test_a_price_by_the_hour_is_found_by_its_hour() -> None:
    deepseek = built_in().find("deepseek", "deepseek-chat")
    assert deepseek is not None
    schedule = at(deepseek, LAST)
    prices = [schedule.at(hour * 3600 + 1) for hour in (0, 12, 23)]
    assert [p.input_usd_picos for p in prices if p] == [135_000, 270_000, 135_000]
    assert schedule.changes_s(12 * 3600) == (1_800, 59_400)
    assert schedule.changes_s(DAY_S + 23 * 3600) == (DAY_S + 59_400, 2 * DAY_S)


def test_what_is_billed_by_more_than_tokens_has_no_price() -> None:
    whisper = built_in().find("openai", "whisper-1")
    assert whisper is not None
    assert whisper.rows == ()
    assert whisper.billed_by == ("audio_hours", "input_audio_hours")


def test_what_the_list_says_is_free_has_no_price() -> None:
    free = built_in().find("github-copilot", "gpt-4o")
    assert free is not None
    assert free.rows == ()
    assert free.billed_by == ("nothing",)


def test_a_tier_that_the_vendor_does_not_list_has_no_price() -> None:
    listed = built_in().find("anthropic", "claude-sonnet-4-5", service_tier="flex")
    assert listed is not None
    assert listed.rows == ()


def test_a_version_changes_with_any_number() -> None:
    line = b'{"model":"m","match":{"equals":"m"},"prices":[{"price":{"input":%d,"output":2}}]}'
    head = b'{"source":"s"}\n{"provider":"v","url":"x"}\n'
    versions = set()
    for number in (1, 2):
        listed = PriceList(head + line % number).find("v", "m")
        assert listed is not None
        versions.add(listed.rows[0].price.version)
    assert len(versions) == 2
    assert all(len(version) <= 64 for version in versions)


def test_versions_fit_the_contract() -> None:
    for provider, model in LISTED:
        for tier in ("standard", *CONTEXTS):
            listed = built_in().find(provider.id, model.id, service_tier=tier)
            if listed is None:
                continue
            assert all(len(row.price.version) <= 64 for row in listed.rows)


def test_nothing_of_genai_prices_is_imported_to_read_the_list() -> None:
    code = (
        "import sys; from harmost.core.budget.price_list import built_in; built_in();"
        "sys.exit(any(name.split('.')[0] in ('pydantic', 'genai_prices') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists() -> None:
    assert all(hasattr(price_list, name) for name in price_list.__all__)
