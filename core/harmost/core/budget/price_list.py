"""The built-in price list: what vendors ask for their models, as of the build. Decides no charge.

`price_list.jsonl` beside this file holds it in whole picodollars, made by `scripts/price-list` from
genai-prices (MIT). Reading it takes no library of theirs: 119 us a price and a second of imports
stay out of the Router.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec
from msgspec.structs import asdict

from harmost.core.budget.price import ContextRates, ModelPrice, Rates, versioned

__all__ = ["ListedModel", "PriceList", "PriceRow", "built_in"]


class PriceRow(NamedTuple):
    """A price and when it holds: from a day on, and within the day between two seconds."""

    since: str  # "2026-01-31"; "": always
    from_s: int
    until_s: int
    price: ModelPrice


class ListedModel(NamedTuple):
    """One model of one vendor. Of `rows` the last that holds counts.

    `rows` is empty where it is billed by what an attempt does not count: `billed_by`.
    `context_tokens_max` is 0 where the list does not say; `deprecated` is said of few.
    """

    vendor: str
    name: str
    rows: tuple[PriceRow, ...]
    billed_by: tuple[str, ...] = ()
    context_tokens_max: int = 0
    deprecated: bool = False


class _Price(msgspec.Struct, frozen=True, kw_only=True):
    input: int
    output: int
    cached_input: int = -1
    cache_write_5m: int = -1
    cache_write_1h: int = -1
    reasoning_output: int = -1
    audio_input: int = -1
    audio_output: int = -1
    above_input_tokens: int = 0
    contexts: tuple["_Price", ...] = ()
    request: int = 0
    tools: dict[str, int] = {}


class _Row(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    price: _Price
    since: str = ""
    from_s: int = 0
    until_s: int = 24 * 3600


class _Clause(msgspec.Struct, frozen=True, kw_only=True, rename={"or_": "or", "and_": "and"}):
    equals: str = ""
    starts_with: str = ""
    ends_with: str = ""
    contains: str = ""
    regex: str = ""
    or_: tuple["_Clause", ...] = ()
    and_: tuple["_Clause", ...] = ()


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    source: str = ""
    provider: str = ""
    url: str = ""
    fallback: tuple[str, ...] = ()
    model: str = ""
    match: _Clause = _Clause()
    prices: tuple[_Row, ...] = ()
    service_tiers: dict[str, tuple[_Row, ...]] = {}
    billed_by: tuple[str, ...] = ()
    context_tokens_max: int = 0
    deprecated: bool = False


class PriceList:
    """Looks models up by vendor and name. Immutable."""

    def __init__(self, content: bytes) -> None:
        """Read `content`, one JSON object a line. O(bytes), about 5 ms for all."""
        decode = msgspec.json.Decoder(_Line).decode
        self.source = ""
        self._vendors: dict[str, _Line] = {}
        self._models: dict[str, list[_Line]] = {}
        vendor = ""
        for text in content.splitlines():
            line = decode(text)
            if line.provider:
                vendor = line.provider
                self._vendors[vendor], self._models[vendor] = line, []
            elif line.model:
                self._models[vendor].append(line)
            else:
                self.source = line.source

    @property
    def vendors(self) -> Mapping[str, int]:
        """How many models it lists of each vendor."""
        return {vendor: len(models) for vendor, models in self._models.items()}

    def models(self, vendor: str) -> list[str]:
        """The names of what it lists of `vendor`, in its order; some of them stand for many models."""
        return [line.model for line in self._models.get(vendor, ())]

    def vendor_at(self, base_url: str) -> str:
        """Whose API `base_url` is; "" where no vendor is known by it."""
        for vendor, line in self._vendors.items():
            if re.match(line.url, base_url):
                return vendor
        return ""

    def find(
        self, vendor: str, vendor_model_id: str, *, service_tier: str = "standard"
    ) -> ListedModel | None:
        """What `vendor` lists for the model, or None. A vendor that resells may list by another's.

        A service tier has prices only where the vendor's own list names it. O(models of vendor).
        """
        line, of = self._line(vendor, vendor_model_id.lower())
        if line is None:
            return None
        if service_tier == "standard":
            rows = line.prices
        else:
            rows = line.service_tiers.get(service_tier, ()) if of == vendor else ()
        made = tuple(self._row(service_tier, row) for row in rows)
        return ListedModel(
            of, line.model, made, line.billed_by, line.context_tokens_max, line.deprecated
        )

    def _line(self, vendor: str, name: str) -> tuple[_Line | None, str]:
        if vendor not in self._vendors:
            return None, ""
        dashed = _with_dashed_day(name)
        for wanted in (name, dashed) if dashed != name else (name,):
            for of in (vendor, *self._vendors[vendor].fallback):
                for line in self._models.get(of, ()):
                    if _matches(line.match, wanted):
                        return line, of
        return None, ""

    def _row(self, service_tier: str, row: _Row) -> PriceRow:
        tier = "" if service_tier == "standard" else service_tier
        source = " ".join(part for part in (self.source, tier, row.since) if part)
        return PriceRow(row.since, row.from_s, row.until_s, versioned(_compiled(row.price), source))


@cache
def built_in() -> PriceList:
    """The list of this build. Read once."""
    return PriceList(files("harmost.core.budget").joinpath("price_list.jsonl").read_bytes())


def _matches(clause: _Clause, name: str) -> bool:
    if clause.or_ or clause.and_:
        return any(_matches(one, name) for one in clause.or_) or (
            bool(clause.and_) and all(_matches(one, name) for one in clause.and_)
        )
    if clause.regex:
        return re.search(clause.regex, name) is not None
    return (
        (bool(clause.equals) and name == clause.equals)
        or (bool(clause.starts_with) and name.startswith(clause.starts_with))
        or (bool(clause.ends_with) and name.endswith(clause.ends_with))
        or (bool(clause.contains) and clause.contains in name)
    )


def _with_dashed_day(name: str) -> str:
    """ "gpt-x-20260131" as the list writes it, "gpt-x-2026-01-31"."""
    return re.sub(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)", r"-\1-\2-\3", name)


def _compiled(price: _Price) -> ModelPrice:
    return ModelPrice(
        **asdict(_rates(price)),
        context_rates=tuple(
            ContextRates(above_input_tokens=context.above_input_tokens, **asdict(_rates(context)))
            for context in price.contexts
        ),
        request_usd_picos=price.request,
        tool_usd_picos=dict(price.tools),
    )


def _rates(price: _Price) -> Rates:
    def rate(stated: int, otherwise: int) -> int:
        return otherwise if stated < 0 else stated

    return Rates(
        input_usd_picos=price.input,
        cached_input_usd_picos=rate(price.cached_input, price.input),
        cache_write_5m_usd_picos=rate(price.cache_write_5m, price.input),
        cache_write_1h_usd_picos=rate(price.cache_write_1h, price.input),
        output_usd_picos=price.output,
        reasoning_output_usd_picos=rate(price.reasoning_output, price.output),
        audio_input_usd_picos=rate(price.audio_input, price.input),
        audio_output_usd_picos=rate(price.audio_output, price.output),
    )
