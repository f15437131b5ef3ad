"""Prices and costs, against exact fractions."""

from fractions import Fraction
from math import ceil

import pytest
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
    worst_case_usd_nanos,
)
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import Price
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
)
counts = st.integers(0, 10**6)


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    cached, write_5m, write_1h, rest, reasoning, visible = (draw(counts) for _ in range(6))
    return TokenUsage(
        input_tokens=cached + write_5m + write_1h + rest,
        cached_input_tokens=cached,
        cache_write_5m_input_tokens=write_5m,
        cache_write_1h_input_tokens=write_1h,
        output_tokens=reasoning + visible,
        reasoning_output_tokens=reasoning,
    )


def exact_usd(price: Price, usage: TokenUsage) -> Fraction:
    """The slow, obvious twin: dollars for a million, class by class."""
    rest = (
        usage.input_tokens
        - usage.cached_input_tokens
        - usage.cache_write_5m_input_tokens
        - usage.cache_write_1h_input_tokens
    )
    each = [
        (rest, price.input),
        (usage.cached_input_tokens, price.cached_input or price.input),
        (usage.cache_write_5m_input_tokens, price.cache_write_5m or price.input),
        (usage.cache_write_1h_input_tokens, price.cache_write_1h or price.input),
        (usage.output_tokens - usage.reasoning_output_tokens, price.output),
        (usage.reasoning_output_tokens, price.reasoning_output or price.output),
    ]
    return sum((Fraction(text) * tokens / MILLION for tokens, text in each), Fraction(0))


@given(texts, usages())
def test_cost_is_the_exact_cost_rounded_up_once(price: Price, usage: TokenUsage) -> None:
    assert cost_usd_nanos(compile_price(price), usage) == ceil(exact_usd(price, usage) * 10**9)


@given(texts, usages())
def test_no_usage_costs_more_than_its_worst_case(price: Price, usage: TokenUsage) -> None:
    compiled = compile_price(price)
    worst = worst_case_usd_nanos(
        compiled, input_tokens_max=usage.input_tokens, output_tokens_max=usage.output_tokens
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
    )


def test_the_worst_input_class_is_held() -> None:
    price = compile_price(Price(input="3", output="15", cache_write_1h="6"))
    assert worst_case_usd_nanos(price, input_tokens_max=1, output_tokens_max=0) == 6_000


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
