"""What a model's tokens cost, in whole numbers. Says nothing about who pays or what is left.

Prices are picodollars for a token, amounts are nanodollars. A price is US dollars for a million
tokens in its document, so six decimals of it are exact. A cost is rounded up once, for the whole
attempt, so the same number is charged at every level and sums stay exact.
"""

import re

import msgspec

from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import Price
from harmost.core.usage import TokenUsage

__all__ = [
    "PRICE_USD_PICOS_MAX",
    "TOKENS_MAX",
    "ModelPrice",
    "compile_price",
    "cost_usd_nanos",
    "output_tokens_within",
    "usd_nanos",
    "worst_case_usd_nanos",
]

# One US dollar for a token: a hundred times the dearest that is sold.
PRICE_USD_PICOS_MAX = 1_000_000_000_000
# Of one attempt; the bound of the contract.
TOKENS_MAX = 1_000_000_000_000

_PICOS_PER_NANO = 1_000
_NANOS_DECIMALS = 9
# "3.00" dollars for a million tokens are 3_000_000 picodollars for one: 12 - 6 decimals.
_PRICE_DECIMALS = 6
_DECIMAL = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,40}))?")


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Picodollars for one token of each class, each 0..PRICE_USD_PICOS_MAX."""

    input_usd_picos: int
    cached_input_usd_picos: int
    cache_write_5m_usd_picos: int
    cache_write_1h_usd_picos: int
    output_usd_picos: int
    reasoning_output_usd_picos: int

    @property
    def input_usd_picos_max(self) -> int:
        """The dearest class that an input token can turn out to be of."""
        return max(
            self.input_usd_picos,
            self.cached_input_usd_picos,
            self.cache_write_5m_usd_picos,
            self.cache_write_1h_usd_picos,
        )

    @property
    def output_usd_picos_max(self) -> int:
        """The dearest class that an output token can turn out to be of."""
        return max(self.output_usd_picos, self.reasoning_output_usd_picos)


def compile_price(price: Price) -> ModelPrice:
    """`price` in whole picodollars; ValueError where that is not exact or beyond its maximum."""
    input_usd_picos = _price_usd_picos(price.input)
    output_usd_picos = _price_usd_picos(price.output)
    return ModelPrice(
        input_usd_picos=input_usd_picos,
        cached_input_usd_picos=_price_or(price.cached_input, input_usd_picos),
        cache_write_5m_usd_picos=_price_or(price.cache_write_5m, input_usd_picos),
        cache_write_1h_usd_picos=_price_or(price.cache_write_1h, input_usd_picos),
        output_usd_picos=output_usd_picos,
        reasoning_output_usd_picos=_price_or(price.reasoning_output, output_usd_picos),
    )


def cost_usd_nanos(price: ModelPrice, usage: TokenUsage) -> int:
    """What `usage` costs in nanodollars, rounded up once; ValueError beyond USD_NANOS_MAX.

    Parts that exceed their total, which only a provider in error reports, are all charged.
    """
    parts = (
        (usage.cached_input_tokens, price.cached_input_usd_picos),
        (usage.cache_write_5m_input_tokens, price.cache_write_5m_usd_picos),
        (usage.cache_write_1h_input_tokens, price.cache_write_1h_usd_picos),
        (usage.reasoning_output_tokens, price.reasoning_output_usd_picos),
        (_rest_of_input(usage), price.input_usd_picos),
        (max(0, usage.output_tokens - usage.reasoning_output_tokens), price.output_usd_picos),
    )
    _check_tokens(usage.input_tokens)
    _check_tokens(usage.output_tokens)
    usd_picos = 0
    for tokens, each_usd_picos in parts:
        usd_picos += _check_tokens(tokens) * each_usd_picos
    return _whole_nanos(usd_picos)


def worst_case_usd_nanos(
    price: ModelPrice, *, input_tokens_max: int, output_tokens_max: int
) -> int:
    """The most that an attempt of at most so many tokens can cost; ValueError as for a cost.

    No usage within both maxima costs more, whatever classes its tokens turn out to be of.
    """
    return _whole_nanos(
        _check_tokens(input_tokens_max) * price.input_usd_picos_max
        + _check_tokens(output_tokens_max) * price.output_usd_picos_max
    )


def output_tokens_within(price: ModelPrice, *, usd_nanos: int, input_tokens_max: int) -> int:
    """The most output tokens whose worst case, with the input's, a hold of `usd_nanos` covers.

    0 where the input alone takes the hold, TOKENS_MAX where output is free.
    """
    left_usd_picos = (
        usd_nanos * _PICOS_PER_NANO - _check_tokens(input_tokens_max) * price.input_usd_picos_max
    )
    if left_usd_picos < 0:
        return 0
    if price.output_usd_picos_max == 0:
        return TOKENS_MAX
    return min(left_usd_picos // price.output_usd_picos_max, TOKENS_MAX)


def usd_nanos(text: str) -> int:
    """Nanodollars in a decimal string of US dollars such as "0.02"; ValueError if not exact."""
    nanos = _scaled(text, _NANOS_DECIMALS)
    if nanos > USD_NANOS_MAX:
        raise ValueError(f"`{text}` US dollars are more than {USD_NANOS_MAX // 10**9}: state less")
    return nanos


def _price_or(text: str, otherwise: int) -> int:
    return _price_usd_picos(text) if text else otherwise


def _price_usd_picos(text: str) -> int:
    picos = _scaled(text, _PRICE_DECIMALS)
    if picos > PRICE_USD_PICOS_MAX:
        raise ValueError(
            f"`{text}` US dollars for a million tokens are more than "
            f"{PRICE_USD_PICOS_MAX // 10**_PRICE_DECIMALS}: state less"
        )
    return picos


def _scaled(text: str, decimals: int) -> int:
    # Not decimal.Decimal: it also takes "1e3", " 1", "1_0", "NaN" and other scripts' digits.
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f'`{text[:60]}` is not a decimal number: write it like "0.02"')
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise ValueError(f"`{text}` has more than {decimals} decimals: round it")
    return int(match[1] + fraction.ljust(decimals, "0"))


def _rest_of_input(usage: TokenUsage) -> int:
    special = (
        usage.cached_input_tokens
        + usage.cache_write_5m_input_tokens
        + usage.cache_write_1h_input_tokens
    )
    return max(0, usage.input_tokens - special)


def _check_tokens(tokens: int) -> int:
    if not 0 <= tokens <= TOKENS_MAX:
        raise ValueError(f"`{tokens}` tokens are not within 0..{TOKENS_MAX}")
    return tokens


def _whole_nanos(usd_picos: int) -> int:
    nanos = -(-usd_picos // _PICOS_PER_NANO)
    if nanos > USD_NANOS_MAX:
        raise ValueError(f"a cost of `{nanos}` nanodollars is beyond {USD_NANOS_MAX}")
    return nanos
