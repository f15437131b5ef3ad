"""Which price holds when, for every model of a snapshot. Reads no clock: time comes in.

A document's own price comes first, else the built-in list's. A model of which neither says
anything has no price: under a hard ceiling of money it is denied, never free.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import NamedTuple

from harmost.core.budget.price import ModelPrice, compile_price, versioned
from harmost.core.budget.price_list import PriceList, built_in
from harmost.core.resources.kinds import ModelSpec, Price, ProviderSpec

__all__ = ["DatedPrice", "PriceBook", "PriceSchedule", "compile_schedule"]

DAY_S = 24 * 3600
# The list bounds vendors; a document with more prices than this is a mistake.
PRICES_MAX = 100
FOR_EVER_S = 2**62


class DatedPrice(NamedTuple):
    """A price from Unix time `since_s` on, on each UTC day from second `from_s` to `until_s`."""

    since_s: int
    from_s: int
    until_s: int
    price: ModelPrice


class PriceSchedule:
    """The prices of one model, now and later; of those that hold the last one counts.

    `origin` is "document" or the name of the list; `why` says why there is none, "" where there is.
    """

    def __init__(self, prices: Sequence[DatedPrice], *, origin: str, why: str = "") -> None:
        self.prices = tuple(prices)
        self.origin = origin
        self.why = why

    def at(self, now_s: int) -> ModelPrice | None:
        """The price at Unix time `now_s`; None: not known."""
        of_day_s = now_s % DAY_S
        for dated in reversed(self.prices):
            if dated.since_s <= now_s and dated.from_s <= of_day_s < dated.until_s:
                return dated.price
        return None

    def changes_s(self, now_s: int) -> tuple[int, int]:
        """From when to when the price at `now_s` certainly stays as it is, Unix time."""
        midnight_s = now_s - now_s % DAY_S
        begin_s, end_s = 0, FOR_EVER_S
        for dated in self.prices:
            cuts = [dated.since_s]
            if (dated.from_s, dated.until_s) != (0, DAY_S):
                cuts += [midnight_s, midnight_s + DAY_S]
                cuts += [midnight_s + dated.from_s, midnight_s + dated.until_s]
            begin_s = max([begin_s, *(cut for cut in cuts if cut <= now_s)])
            end_s = min([end_s, *(cut for cut in cuts if cut > now_s)])
        return begin_s, end_s


class PriceBook:
    """The prices of all models of one snapshot."""

    def __init__(self, schedules: Mapping[str, PriceSchedule]) -> None:
        self.schedules = MappingProxyType(dict(schedules))
        # The last answer and how long it holds: most deployments never see another.
        self._at: tuple[int, int, Mapping[str, ModelPrice | None]] = (0, 0, {})

    def at(self, now_s: int) -> Mapping[str, ModelPrice | None]:
        """The price of every model at Unix time `now_s`; None: not known. O(1) but for changes."""
        begin_s, end_s, prices = self._at
        if not begin_s <= now_s < end_s:
            spans = [schedule.changes_s(now_s) for schedule in self.schedules.values()]
            prices = MappingProxyType(
                {name: schedule.at(now_s) for name, schedule in self.schedules.items()}
            )
            begin_s = max((begin for begin, _ in spans), default=0)
            end_s = min((end for _, end in spans), default=FOR_EVER_S)
            self._at = (begin_s, end_s, prices)
        return prices


def compile_schedule(model: ModelSpec, provider: ProviderSpec | None) -> PriceSchedule:
    """What `model` costs; ValueError where its document says what cannot be."""
    price = model.price
    if isinstance(price, Price):
        return _stated((price,), model.service_tier)
    if isinstance(price, tuple):
        return _stated(price, model.service_tier)
    if price == "unknown":
        return PriceSchedule((), origin="document", why="its document says `price: unknown`")
    if provider is None:  # the document names one that is not there, which is told elsewhere
        return PriceSchedule((), origin="document", why="its provider is not known")
    return _listed(built_in(), model, provider)


def _stated(prices: Sequence[Price], service_tier: str) -> PriceSchedule:
    if not 1 <= len(prices) <= PRICES_MAX:
        raise ValueError(f"{len(prices)} prices: state 1 to {PRICES_MAX}")
    dated: list[DatedPrice] = []
    for price in prices:
        since_s = _day_s(price.from_)
        if dated and since_s <= dated[-1].since_s:
            raise ValueError(f"`from` `{price.from_}` is not after the one before: sort them")
        source = f"document {price.from_}".rstrip()
        compiled = versioned(compile_price(price, service_tier=service_tier), source)
        dated.append(DatedPrice(since_s, 0, DAY_S, compiled))
    return PriceSchedule(dated, origin="document")


def _listed(listed: PriceList, model: ModelSpec, provider: ProviderSpec) -> PriceSchedule:
    vendor = provider.price_list or listed.vendor_at(provider.base_url)
    if not vendor:
        why = "no vendor of the built-in list is known by the provider's `base_url`"
        return PriceSchedule((), origin=listed.source, why=why)
    if vendor not in listed.vendors:
        known = ", ".join(listed.vendors)
        raise ValueError(f"the built-in list has no vendor `{vendor}`: it knows {known}")
    found = listed.find(vendor, model.vendor_model_id, service_tier=model.service_tier)
    if found is None:
        why = f"the built-in list has no model `{model.vendor_model_id}` of `{vendor}`"
        return PriceSchedule((), origin=listed.source, why=why)
    if not found.rows:
        by = ", ".join(found.billed_by) or f"no price of tier {model.service_tier}"
        why = f"the built-in list has it billed by {by}, which an attempt does not count"
        return PriceSchedule((), origin=listed.source, why=why)
    prices = [
        # The first row holds before any other: a price from before the list began.
        DatedPrice(_day_s(row.since), row.from_s, row.until_s, row.price)
        for row in found.rows
    ]
    return PriceSchedule(prices, origin=listed.source)


def _day_s(text: str) -> int:
    """Unix time at the beginning of a UTC day such as "2026-01-31"; 0 for ""."""
    if not text:
        return 0
    try:
        day = date.fromisoformat(text)
        since = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if text != day.isoformat() or not 1970 <= day.year <= 2261:
            raise ValueError
    except ValueError:
        raise ValueError(f"`from` `{text[:30]}` is no day: write it like 2026-01-31") from None
    return int(since.timestamp())
