"""Which model of which provider rests: it said that nothing is left, or to come again later. Pure.

One that rests is tried after those that do not, and never left out: where all rest, the provider has
the last word. So no header, however hostile, shuts a provider out, nor puts it last for longer than
`REST_S_MAX` after it came. Of one Router; time comes in as seconds of a clock that only rises.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from harmost.core.providers.codec import ProviderError, ProviderErrorKind
from harmost.core.providers.limits import RateLimits
from harmost.core.resources.kinds import ModelSpec
from harmost.core.resources.resolve import Resource

__all__ = ["REST_S_MAX", "Health", "Place", "Told"]

# Vendors' windows are a minute; some count by the day, and those are worth asking again.
REST_S_MAX = 300.0
# Where it refuses and does not say for how long.
_REST_S: dict[ProviderErrorKind, float] = {
    "throttled": 1.0,
    "overloaded": 1.0,
    "quota_exhausted": 60.0,
}
# Models of providers that are remembered; the one that was heard of longest ago is forgotten.
PLACES_MAX = 1_024


class Place(NamedTuple):
    """What a vendor limits: a model of its own, by the vendor's name, at a provider in a region."""

    provider: str
    region: str
    vendor_model_id: str

    @classmethod
    def of(cls, model: ModelSpec) -> "Place":
        """Where `model` is."""
        return cls(model.provider, model.region, model.vendor_model_id)


class Told(msgspec.Struct, kw_only=True):
    """What is known of a place: until when its headers say it is empty, and its refusals to wait."""

    requests_left: int | None = None
    tokens_left: int | None = None
    empty_until_s: float = 0.0
    refused_until_s: float = 0.0

    def rest_s(self, now_s: float) -> float:
        """How long it still rests; 0: it does not."""
        return max(self.empty_until_s - now_s, self.refused_until_s - now_s, 0.0)


class Health:
    """What has not been heard of does not rest."""

    def __init__(self, *, places_max: int = PLACES_MAX) -> None:
        self._places_max = places_max
        self._known: dict[Place, Told] = {}

    def answered(self, place: Place, limits: RateLimits | None, *, now_s: float) -> None:
        """`place` answered, and its headers said `limits`: they replace what they said before."""
        if limits is None:
            return
        told = self._heard_of(place)
        told.requests_left, told.tokens_left = limits.requests_left, limits.tokens_left
        told.empty_until_s = now_s + min(limits.empty_s, REST_S_MAX)

    def refused(self, place: Place, error: ProviderError, *, now_s: float) -> None:
        """`place` did not answer. Only a refusal for load or money lets it rest."""
        least_s = _REST_S.get(error.kind)
        if least_s is None:
            return
        wait_s = least_s if error.retry_after_s is None else error.retry_after_s
        told = self._heard_of(place)
        told.refused_until_s = max(told.refused_until_s, now_s + min(wait_s, REST_S_MAX))

    def resting(
        self, names: Iterable[str], models: Mapping[str, Resource[ModelSpec]], *, now_s: float
    ) -> Mapping[str, float]:
        """Those of `names` that rest, and for how many seconds still. O(names)."""
        if not self._known:
            return {}
        found: dict[str, float] = {}
        for name in names:
            told = self._known.get(Place.of(models[name].spec))
            if told is not None and (rest_s := told.rest_s(now_s)):
                found[name] = rest_s
        return found

    def places(self) -> Iterator[tuple[Place, Told]]:
        """Everything that is known."""
        yield from self._known.items()

    def _heard_of(self, place: Place) -> Told:
        told = self._known.pop(place, None) or Told()
        self._known[place] = told  # the newest stands last
        if len(self._known) > self._places_max:
            del self._known[next(iter(self._known))]
        return told
