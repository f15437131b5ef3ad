"""Prices and costs, against exact fractions."""

import random
from fractions import Fraction
from math import ceil

import msgspec
import pytest
from effort import effort
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget import price as prices
from harmost.core.budget.price import (
    TOKENS_MAX,
    ModelPrice,
    compile_price,
    cost_usd_nanos,
    output_tokens_within,
    usd_nanos,
    versioned,
    worst_case_usd_nanos,
)
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import ContextPrices, Price
from harmost.core.usage import TokenUsage

MILLION = 10**6

decimals = st.decimals(min_value=0, max_value=10_000, places=6).map(lambda value: f"{value:f}")
texts = st.builds(
    Price,
    input=decimals,
    output=decimals,
    cached_input=st.just("") | decimals,
    cache_write_5m=st.just("") | decimals,
    cache_write_1h=st.just("") | decimals,
    reasoning_output=st.just("") | decimals,
    audio_input=st.just("") | decimals,
    audio_output=st.just("") | decimals,
    contexts=st.lists(
        st.builds(
            ContextPrices,
            above_input_tokens=st.integers(1, 4 * 10**6),
            input=st.just("") | decimals,
            output=st.just("") | decimals,
            cache_write_1h=st.just("") | decimals,
        ),
        max_size=2,
        unique_by=lambda context: context.above_input_tokens,
    ).map(lambda contexts: tuple(sorted(contexts, key=lambda c: c.above_input_tokens))),
    request=st.just("") | st.just("0.005"),
    tools=st.just({"web_search": "0.01"}),
)
counts = st.integers(0, 10**6)


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    return usage_of([draw(counts) for _ in range(8)], draw(st.integers(0, 20)))


def usage_of(counts: list[int], searches: int) -> TokenUsage:
    cached, write_5m, write_1h, heard, rest, reasoning, spoken, visible = counts
    return TokenUsage(
        input_tokens=cached + write_5m + write_1h + heard + rest,
        cached_input_tokens=cached,
        cache_write_5m_input_tokens=write_5m,
        cache_write_1h_input_tokens=write_1h,
        audio_input_tokens=heard,
        output_tokens=reasoning + spoken + visible,
        reasoning_output_tokens=reasoning,
        audio_output_tokens=spoken,
        tool_calls={"web_search": searches} if searches else {},
    )


def exact_usd(whole: Price, usage: TokenUsage) -> Fraction:
    """The slow, obvious twin: dollars for a million, class by class."""
    price: Price | ContextPrices = whole
    for context in whole.contexts:
        if usage.input_tokens > context.above_input_tokens:
            price = context
    base_input, base_output = price.input or whole.input, price.output or whole.output
    rest = (
        usage.input_tokens
        - usage.cached_input_tokens
        - usage.cache_write_5m_input_tokens
        - usage.cache_write_1h_input_tokens
        - usage.audio_input_tokens
    )
    visible = usage.output_tokens - usage.reasoning_output_tokens - usage.audio_output_tokens
    each = [
        (rest, base_input),
        (usage.cached_input_tokens, price.cached_input or base_input),
        (usage.cache_write_5m_input_tokens, price.cache_write_5m or base_input),
        (usage.cache_write_1h_input_tokens, price.cache_write_1h or base_input),
        (usage.audio_input_tokens, price.audio_input or base_input),
        (visible, base_output),
        (usage.reasoning_output_tokens, price.reasoning_output or base_output),
        (usage.audio_output_tokens, price.audio_output or base_output),
    ]
    fees = Fraction(whole.request or 0)
    for tool, calls in usage.tool_calls.items():
        fees += Fraction(whole.tools[tool]) * calls
    return sum((Fraction(text) * tokens / MILLION for tokens, text in each), fees)


@given(texts, usages())
def test_cost_is_the_exact_cost_rounded_up_once(price: Price, usage: TokenUsage) -> None:
    assert cost_usd_nanos(compile_price(price), usage) == ceil(exact_usd(price, usage) * 10**9)


@pytest.mark.timeout(1_200)
def test_random_usages_cost_what_exact_fractions_say() -> None:
    """The same twin over many more usages than Hypothesis has time for, at prices as vendors ask."""
    chance = random.Random(6)
    prices = [random_price(chance) for _ in range(50)]
    compiled = [compile_price(price) for price in prices]
    for _ in range(effort(2_000, ci=50_000, nightly=1_000_000)):
        index = chance.randrange(len(prices))
        counts = [chance.randrange(10 ** chance.randrange(8)) for _ in range(8)]
        usage = usage_of(counts, chance.randrange(9) * chance.randrange(2))
        cost = cost_usd_nanos(compiled[index], usage)
        assert cost == ceil(exact_usd(prices[index], usage) * 10**9)
        assert cost <= worst_case_usd_nanos(
            compiled[index],
            input_tokens_max=usage.input_tokens,
            output_tokens_max=usage.output_tokens,
            tool_calls_max=usage.tool_calls,
        )


def random_price(chance: random.Random) -> Price:
    def dollars() -> str:
        return f"{chance.randrange(20 * 10**6) / 10**6:.6f}"

    def maybe() -> str:
        return dollars() if chance.randrange(2) else ""

    long = ContextPrices(
        above_input_tokens=200_000, input=maybe(), output=maybe(), cache_write_1h=maybe()
    )
    return Price(
        input=dollars(),
        output=dollars(),
        cached_input=maybe(),
        cache_write_5m=maybe(),
        cache_write_1h=maybe(),
        reasoning_output=maybe(),
        audio_input=maybe(),
        audio_output=maybe(),
        contexts=(long,) if chance.randrange(2) else (),
        request="0.005" if chance.randrange(2) else "",
        tools={"web_search": "0.01"},
    )


@given(texts, usages())
def test_no_usage_costs_more_than_its_worst_case(price: Price, usage: TokenUsage) -> None:
    compiled = compile_price(price)
    worst = worst_case_usd_nanos(
        compiled,
        input_tokens_max=usage.input_tokens,
        output_tokens_max=usage.output_tokens,
        tool_calls_max=usage.tool_calls,
    )
    assert cost_usd_nanos(compiled, usage) <= worst


@given(texts, counts, st.integers(0, 10**13))
def test_output_tokens_within_is_the_most_that_a_hold_covers(
    text: Price, input_tokens: int, hold: int
) -> None:
    price = compile_price(text)
    tokens = output_tokens_within(price, usd_nanos=hold, input_tokens_max=input_tokens)

    def worst(output_tokens: int) -> int:
        return worst_case_usd_nanos(
            price, input_tokens_max=input_tokens, output_tokens_max=output_tokens
        )

    if tokens:
        assert tokens == TOKENS_MAX or worst(tokens) <= hold
    if tokens < TOKENS_MAX:
        assert worst(tokens + 1) > hold


@given(st.integers(0, USD_NANOS_MAX))
def test_usd_nanos_reads_back_what_was_written(nanos: int) -> None:
    dollars, rest = divmod(nanos, 10**9)
    assert usd_nanos(f"{dollars}.{rest:09d}") == nanos


def test_two_cents_are_twenty_million_nanodollars() -> None:
    assert usd_nanos("0.02") == 20_000_000


def test_decimals_that_are_only_zeros_are_exact() -> None:
    assert usd_nanos("1." + "0" * 30) == 10**9


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "-1", "+1", "1e3", "1_0", "NaN", "inf", ".5", "5.", "1,5", "٣", "0x1", "1\n"],
)
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a decimal number"):
        usd_nanos(text)


def test_what_is_finer_than_a_nanodollar_is_refused() -> None:
    with pytest.raises(ValueError, match="has more than 9 decimals: round it"):
        usd_nanos("0.0000000001")


def test_more_than_the_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="state less"):
        usd_nanos("1000000000.000000001")


def test_a_price_finer_than_a_picodollar_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="has more than 6 decimals"):
        compile_price(Price(input="0.0000001", output="1"))


def test_a_price_above_a_dollar_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="state less"):
        compile_price(Price(input="1", output="1000001"))


def test_a_class_left_out_costs_what_the_class_around_it_costs() -> None:
    assert compile_price(Price(input="3", output="15")) == ModelPrice(
        input_usd_picos=3_000_000,
        cached_input_usd_picos=3_000_000,
        cache_write_5m_usd_picos=3_000_000,
        cache_write_1h_usd_picos=3_000_000,
        output_usd_picos=15_000_000,
        reasoning_output_usd_picos=15_000_000,
        audio_input_usd_picos=3_000_000,
        audio_output_usd_picos=15_000_000,
    )


def test_the_worst_input_class_is_held() -> None:
    price = compile_price(Price(input="3", output="15", cache_write_1h="6"))
    assert worst_case_usd_nanos(price, input_tokens_max=1, output_tokens_max=0) == 6_000


def test_a_longer_context_costs_more_for_every_token() -> None:
    long = ContextPrices(above_input_tokens=200_000, input="6", output="22.5")
    price = compile_price(Price(input="3", output="15", contexts=(long,)))
    at = [
        cost_usd_nanos(price, TokenUsage(input_tokens=tokens, output_tokens=1))
        for tokens in (200_000, 200_001)
    ]
    assert at == [600_015_000, 1_200_028_500]


def test_a_context_that_the_input_may_reach_is_held() -> None:
    long = ContextPrices(above_input_tokens=200_000, input="6", output="22.5")
    price = compile_price(Price(input="3", output="15", contexts=(long,)))
    held = [
        worst_case_usd_nanos(price, input_tokens_max=tokens, output_tokens_max=1)
        for tokens in (200_000, 200_001)
    ]
    assert held == [600_015_000, 1_200_028_500]


def test_a_cheaper_longer_context_lowers_no_hold() -> None:
    long = ContextPrices(above_input_tokens=10, input="1", output="1")
    price = compile_price(Price(input="3", output="15", contexts=(long,)))
    assert worst_case_usd_nanos(price, input_tokens_max=100, output_tokens_max=0) == 300_000


def test_contexts_out_of_order_are_refused() -> None:
    contexts = tuple(ContextPrices(above_input_tokens=tokens) for tokens in (200, 100))
    with pytest.raises(ValueError, match="`above_input_tokens` 100 does not rise: sort them"):
        compile_price(Price(input="3", output="15", contexts=contexts))


def test_calls_of_tools_are_held_and_charged() -> None:
    price = compile_price(
        Price(input="0", output="0", tools={"web_search": "0.01"}, request="0.005")
    )
    usage = TokenUsage(tool_calls={"web_search": 3})
    assert cost_usd_nanos(price, usage) == 35_000_000
    held = worst_case_usd_nanos(
        price, input_tokens_max=0, output_tokens_max=0, tool_calls_max={"web_search": 5}
    )
    assert held == 55_000_000


def test_a_tool_without_a_price_is_never_free() -> None:
    price = compile_price(Price(input="3", output="15"))
    with pytest.raises(ValueError, match="a call of `web_search` has no price"):
        cost_usd_nanos(price, TokenUsage(tool_calls={"web_search": 1}))
    with pytest.raises(ValueError, match="a call of `x` has no price"):
        worst_case_usd_nanos(
            price, input_tokens_max=0, output_tokens_max=0, tool_calls_max={"x": 1}
        )


@pytest.mark.parametrize("calls", [-1, 1_000_001])
def test_impossible_calls_are_refused(calls: int) -> None:
    price = compile_price(Price(input="3", output="15", tools={"web_search": "0.01"}))
    with pytest.raises(ValueError, match=r"are not within 0\.\.1000000"):
        cost_usd_nanos(price, TokenUsage(tool_calls={"web_search": calls}))


def test_a_fee_above_a_thousand_dollars_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`1000\.01` US dollars a call are more than 1000"):
        compile_price(Price(input="3", output="15", request="1000.01"))


def test_a_service_tier_costs_its_share_rounded_up() -> None:
    price = Price(input="0.000003", output="15", service_tiers={"flex": "0.5", "priority": "1.75"})
    flex = compile_price(price, service_tier="flex")
    assert (flex.input_usd_picos, flex.output_usd_picos) == (2, 7_500_000)
    assert compile_price(price, service_tier="priority").output_usd_picos == 26_250_000


def test_a_service_tier_that_the_price_does_not_name_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing of the service tier `flex`"):
        compile_price(Price(input="3", output="15"), service_tier="flex")


def test_a_version_names_its_numbers() -> None:
    one, same, other = (
        versioned(compile_price(Price(input=text, output="15")), "document 2026-01-31")
        for text in ("3", "3.00", "3.01")
    )
    assert one.version == same.version
    assert one.version != other.version
    assert one.version.startswith("document 2026-01-31#")


def test_a_price_of_an_older_journal_is_read() -> None:
    row = (
        b'{"input_usd_picos":3,"cached_input_usd_picos":3,"cache_write_5m_usd_picos":3,'
        b'"cache_write_1h_usd_picos":3,"output_usd_picos":15,"reasoning_output_usd_picos":15}'
    )
    price = msgspec.json.decode(row, type=ModelPrice)
    assert cost_usd_nanos(price, TokenUsage(input_tokens=1_000, output_tokens=1_000)) == 18


def test_parts_above_their_total_are_all_charged() -> None:
    price = compile_price(Price(input="3", output="15", cached_input="1"))
    usage = TokenUsage(input_tokens=1, cached_input_tokens=5)
    assert cost_usd_nanos(price, usage) == 5_000


@pytest.mark.parametrize("tokens", [-1, TOKENS_MAX + 1])
def test_impossible_counts_are_refused(tokens: int) -> None:
    price = compile_price(Price(input="3", output="15"))
    with pytest.raises(ValueError, match="tokens are not within"):
        cost_usd_nanos(price, TokenUsage(input_tokens=tokens))


def test_a_cost_beyond_the_maximum_is_refused() -> None:
    price = compile_price(Price(input="1000000", output="0"))
    with pytest.raises(ValueError, match="nanodollars is beyond"):
        worst_case_usd_nanos(price, input_tokens_max=TOKENS_MAX, output_tokens_max=0)


def test_every_public_name_exists() -> None:
    assert all(hasattr(prices, name) for name in prices.__all__)
