"""What an attempt costs, in whole numbers. Says nothing about who pays or what is left.

Prices are picodollars for a token, amounts are nanodollars. A price is US dollars for a million
tokens in its document, so six decimals of it are exact. A cost is rounded up once, for the whole
attempt, so the same number is charged at every level and sums stay exact. Python's integers do not
overflow; what leaves this module is checked against USD_NANOS_MAX.
"""

import hashlib
import re
from collections.abc import Mapping

import msgspec
from msgspec.structs import asdict

from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import ContextPrices, Price
from harmost.core.usage import TokenUsage

__all__ = [
    "PRICE_USD_PICOS_MAX",
    "TOKENS_MAX",
    "TOOL_CALLS_MAX",
    "ContextRates",
    "ModelPrice",
    "Rates",
    "compile_price",
    "cost_usd_nanos",
    "output_tokens_within",
    "usd_nanos",
    "versioned",
    "worst_case_usd_nanos",
]

# One US dollar for a token: a hundred times the dearest that is sold.
PRICE_USD_PICOS_MAX = 1_000_000_000_000
# A thousand US dollars for one call of a tool, or for one request.
FEE_USD_PICOS_MAX = 1_000 * PRICE_USD_PICOS_MAX
# Of one attempt; the bound of the contract.
TOKENS_MAX = 1_000_000_000_000
# Of one tool in one attempt; the bound of the contract.
TOOL_CALLS_MAX = 1_000_000

_PICOS_PER_NANO = 1_000
_NANOS_DECIMALS = 9
# "3.00" dollars for a million tokens are 3_000_000 picodollars for one: 12 - 6 decimals.
_PRICE_DECIMALS = 6
_FEE_DECIMALS = 12
_MILLIONTHS = 1_000_000
_DECIMAL = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,40}))?")


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Picodollars for one token of each class, each 0..PRICE_USD_PICOS_MAX."""

    input_usd_picos: int
    cached_input_usd_picos: int
    cache_write_5m_usd_picos: int
    cache_write_1h_usd_picos: int
    output_usd_picos: int
    reasoning_output_usd_picos: int
    # Rows written before there was audio have none of it to price.
    audio_input_usd_picos: int = 0
    audio_output_usd_picos: int = 0

    @property
    def input_usd_picos_max(self) -> int:
        """The dearest class that an input token can turn out to be of."""
        return max(
            self.input_usd_picos,
            self.cached_input_usd_picos,
            self.cache_write_5m_usd_picos,
            self.cache_write_1h_usd_picos,
            self.audio_input_usd_picos,
        )

    @property
    def output_usd_picos_max(self) -> int:
        """The dearest class that an output token can turn out to be of."""
        return max(
            self.output_usd_picos, self.reasoning_output_usd_picos, self.audio_output_usd_picos
        )


class ContextRates(Rates, frozen=True, kw_only=True):
    """The rates of every token of an attempt that has more than so many input tokens."""

    above_input_tokens: int


class ModelPrice(Rates, frozen=True, kw_only=True):
    """What one model costs: its rates, those of longer contexts (ascending), and fees.

    `version` names exactly these numbers: where they come from, since when, and a digest.
    """

    context_rates: tuple[ContextRates, ...] = ()
    request_usd_picos: int = 0
    tool_usd_picos: dict[str, int] = {}
    version: str = ""


def compile_price(price: Price, *, service_tier: str = "standard") -> ModelPrice:
    """What `price` says of `service_tier` in whole picodollars, without a version.

    ValueError where it says nothing, or a number is not exact or beyond its maximum.
    """
    multiplier = _multiplier(price, service_tier)
    tiers: list[ContextRates] = []
    for tier in price.contexts:
        if tier.above_input_tokens <= (tiers[-1].above_input_tokens if tiers else 0):
            raise ValueError(
                f"`above_input_tokens` {tier.above_input_tokens} does not rise: sort them"
            )
        rates = _rates(tier, price, multiplier)
        tiers.append(ContextRates(above_input_tokens=tier.above_input_tokens, **asdict(rates)))
    return ModelPrice(
        **asdict(_rates(price, price, multiplier)),
        context_rates=tuple(tiers),
        request_usd_picos=_fee_usd_picos(price.request) if price.request else 0,
        tool_usd_picos={name: _fee_usd_picos(text) for name, text in sorted(price.tools.items())},
    )


def versioned(price: ModelPrice, source: str) -> ModelPrice:
    """`price` with the version that names `source` and its numbers."""
    bare = msgspec.structs.replace(price, version="")
    digest = hashlib.blake2b(msgspec.json.encode(bare), digest_size=4).hexdigest()
    return msgspec.structs.replace(price, version=f"{source}#{digest}")


def cost_usd_nanos(price: ModelPrice, usage: TokenUsage) -> int:
    """What `usage` costs in nanodollars, rounded up once; ValueError beyond USD_NANOS_MAX.

    Parts that exceed their total, which only a provider in error reports, are all charged. So is
    each tool: ValueError for one without a price.
    """
    rates = _rates_at(price, usage.input_tokens)
    input_parts = (
        (usage.cached_input_tokens, rates.cached_input_usd_picos),
        (usage.cache_write_5m_input_tokens, rates.cache_write_5m_usd_picos),
        (usage.cache_write_1h_input_tokens, rates.cache_write_1h_usd_picos),
        (usage.audio_input_tokens, rates.audio_input_usd_picos),
    )
    output_parts = (
        (usage.reasoning_output_tokens, rates.reasoning_output_usd_picos),
        (usage.audio_output_tokens, rates.audio_output_usd_picos),
    )
    usd_picos = (
        _parts_usd_picos(usage.input_tokens, rates.input_usd_picos, input_parts)
        + _parts_usd_picos(usage.output_tokens, rates.output_usd_picos, output_parts)
        + price.request_usd_picos
    )
    if usage.tool_calls:
        usd_picos += _tools_usd_picos(price, usage.tool_calls)
    return _whole_nanos(usd_picos)


def worst_case_usd_nanos(
    price: ModelPrice,
    *,
    input_tokens_max: int,
    output_tokens_max: int,
    tool_calls_max: Mapping[str, int] | None = None,
) -> int:
    """The most that an attempt of at most so much can cost; ValueError as for a cost.

    No usage within the maxima costs more, whatever classes its tokens turn out to be of.
    """
    input_usd_picos, output_usd_picos = _worst_usd_picos(price, input_tokens_max)
    return _whole_nanos(
        _check_tokens(input_tokens_max) * input_usd_picos
        + _check_tokens(output_tokens_max) * output_usd_picos
        + price.request_usd_picos
        + (_tools_usd_picos(price, tool_calls_max) if tool_calls_max else 0)
    )


def output_tokens_within(
    price: ModelPrice,
    *,
    usd_nanos: int,
    input_tokens_max: int,
    tool_calls_max: Mapping[str, int] | None = None,
) -> int:
    """The most output tokens whose worst case, with all else, a hold of `usd_nanos` covers.

    0 where all else takes the hold, TOKENS_MAX where output is free.
    """
    input_usd_picos, output_usd_picos = _worst_usd_picos(price, input_tokens_max)
    left_usd_picos = (
        usd_nanos * _PICOS_PER_NANO
        - _check_tokens(input_tokens_max) * input_usd_picos
        - price.request_usd_picos
        - (_tools_usd_picos(price, tool_calls_max) if tool_calls_max else 0)
    )
    if left_usd_picos < 0:
        return 0
    if output_usd_picos == 0:
        return TOKENS_MAX
    return min(left_usd_picos // output_usd_picos, TOKENS_MAX)


def usd_nanos(text: str) -> int:
    """Nanodollars in a decimal string of US dollars such as "0.02"; ValueError if not exact."""
    nanos = _scaled(text, _NANOS_DECIMALS)
    if nanos > USD_NANOS_MAX:
        raise ValueError(f"`{text}` US dollars are more than {USD_NANOS_MAX // 10**9}: state less")
    return nanos


def _multiplier(price: Price, service_tier: str) -> int:
    """Millionths that a tier costs of the standard price."""
    if service_tier == "standard":
        return _MILLIONTHS
    stated = price.service_tiers.get(service_tier)
    if stated is None:
        raise ValueError(
            f"it says nothing of the service tier `{service_tier}`: add it to `service_tiers`"
        )
    return _scaled(stated, _PRICE_DECIMALS)


def _rates(stated: ContextPrices | Price, whole: Price, multiplier: int) -> Rates:
    """Whole picodollars. A class that is left out costs what the class around it does."""

    def rate(text: str, otherwise: int) -> int:
        if not text:
            return otherwise
        # Rounded up: a tier's share of a picodollar is never given away.
        picos = -(-_scaled(text, _PRICE_DECIMALS) * multiplier // _MILLIONTHS)
        if picos > PRICE_USD_PICOS_MAX:
            raise ValueError(
                f"`{text}` US dollars for a million tokens are more than "
                f"{PRICE_USD_PICOS_MAX // _MILLIONTHS}: state less"
            )
        return picos

    into = rate(stated.input or whole.input, 0)
    out = rate(stated.output or whole.output, 0)
    return Rates(
        input_usd_picos=into,
        cached_input_usd_picos=rate(stated.cached_input, into),
        cache_write_5m_usd_picos=rate(stated.cache_write_5m, into),
        cache_write_1h_usd_picos=rate(stated.cache_write_1h, into),
        output_usd_picos=out,
        reasoning_output_usd_picos=rate(stated.reasoning_output, out),
        audio_input_usd_picos=rate(stated.audio_input, into),
        audio_output_usd_picos=rate(stated.audio_output, out),
    )


def _fee_usd_picos(text: str) -> int:
    picos = _scaled(text, _FEE_DECIMALS)
    if picos > FEE_USD_PICOS_MAX:
        raise ValueError(f"`{text}` US dollars a call are more than 1000: state less")
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


def _rates_at(price: ModelPrice, input_tokens: int) -> Rates:
    """The rates of the longest context that `input_tokens` exceed."""
    for rates in reversed(price.context_rates):
        if input_tokens > rates.above_input_tokens:
            return rates
    return price


def _worst_usd_picos(price: ModelPrice, input_tokens_max: int) -> tuple[int, int]:
    """The dearest input and output token of any context that `input_tokens_max` can reach."""
    into, out = price.input_usd_picos_max, price.output_usd_picos_max
    for rates in price.context_rates:
        if input_tokens_max > rates.above_input_tokens:
            into = max(into, rates.input_usd_picos_max)
            out = max(out, rates.output_usd_picos_max)
    return into, out


def _parts_usd_picos(tokens: int, each_usd_picos: int, parts: tuple[tuple[int, int], ...]) -> int:
    """`tokens` in all, of which `parts` (tokens, picodollars each) cost otherwise."""
    rest, usd_picos = _check_tokens(tokens), 0
    for part, part_usd_picos in parts:
        rest -= _check_tokens(part)
        usd_picos += part * part_usd_picos
    return usd_picos + max(0, rest) * each_usd_picos


def _tools_usd_picos(price: ModelPrice, calls: Mapping[str, int]) -> int:
    usd_picos = 0
    for tool, count in calls.items():
        if not 0 <= count <= TOOL_CALLS_MAX:
            raise ValueError(f"`{count}` calls of `{tool}` are not within 0..{TOOL_CALLS_MAX}")
        fee = price.tool_usd_picos.get(tool)
        if fee is None and count:
            raise ValueError(f"a call of `{tool}` has no price: add it to `tools` of the price")
        usd_picos += count * (fee or 0)
    return usd_picos


def _check_tokens(tokens: int) -> int:
    if not 0 <= tokens <= TOKENS_MAX:
        raise ValueError(f"`{tokens}` tokens are not within 0..{TOKENS_MAX}")
    return tokens


def _whole_nanos(usd_picos: int) -> int:
    nanos = -(-usd_picos // _PICOS_PER_NANO)
    if nanos > USD_NANOS_MAX:
        raise ValueError(f"a cost of `{nanos}` nanodollars is beyond {USD_NANOS_MAX}")
    return nanos
