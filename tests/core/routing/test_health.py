"""Who rests, and for how long at the most."""

from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.providers.codec import ProviderError, ProviderErrorKind
from harmost.core.providers.limits import RateLimits, rate_limits
from harmost.core.resources.kinds import Metadata, ModelSpec
from harmost.core.resources.resolve import Resource
from harmost.core.routing.health import REST_S_MAX, Health, Place

MODEL = ModelSpec(provider="p", vendor_model_id="v")
PLACE = Place.of(MODEL)
MODELS = {"m": Resource(Metadata(name="m"), MODEL)}


def rest_s(health: Health, now_s: float) -> float:
    return health.resting(["m"], MODELS, now_s=now_s).get("m", 0.0)


def error(kind: ProviderErrorKind, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(kind=kind, message="", retry_after_s=retry_after_s)


def test_a_model_rests_until_its_provider_has_something_left_again() -> None:
    health = Health()
    health.answered(PLACE, RateLimits(0, 500, 20.0), now_s=100.0)
    assert (rest_s(health, 100.0), rest_s(health, 119.0), rest_s(health, 120.0)) == (20.0, 1.0, 0.0)


def test_headers_that_say_more_is_left_end_the_rest() -> None:
    health = Health()
    health.answered(PLACE, RateLimits(0, None, 60.0), now_s=0.0)
    health.answered(PLACE, RateLimits(5, None, 0.0), now_s=1.0)
    assert rest_s(health, 1.0) == 0.0


def test_a_refusal_lets_it_rest_as_long_as_it_says_and_no_answer_ends_that() -> None:
    health = Health()
    health.refused(PLACE, error("throttled", 30.0), now_s=0.0)
    health.answered(PLACE, RateLimits(5, None, 0.0), now_s=1.0)  # it was asked before the refusal
    assert rest_s(health, 10.0) == 20.0


def test_a_refusal_without_a_word_rests_it_for_a_moment_and_one_of_money_for_longer() -> None:
    for kind, seconds in (("throttled", 1.0), ("overloaded", 1.0), ("quota_exhausted", 60.0)):
        health = Health()
        health.refused(PLACE, error(kind), now_s=0.0)  # type: ignore[arg-type]
        assert rest_s(health, 0.0) == seconds


def test_other_failures_rest_nobody() -> None:
    health = Health()
    for kind in ("rejected", "context_too_long", "broken", "auth", "stalled"):
        health.refused(PLACE, error(kind, 30.0), now_s=0.0)  # type: ignore[arg-type]
    assert rest_s(health, 0.0) == 0.0


def test_another_model_region_or_provider_does_not_rest_with_it() -> None:
    health = Health()
    health.refused(PLACE, error("throttled", 30.0), now_s=0.0)
    others = {
        "model": ModelSpec(provider="p", vendor_model_id="w"),
        "region": ModelSpec(provider="p", vendor_model_id="v", region="EEA"),
        "provider": ModelSpec(provider="q", vendor_model_id="v"),
    }
    models = {name: Resource(Metadata(name=name), spec) for name, spec in others.items()}
    assert health.resting(models, models, now_s=0.0) == {}


ROUNDING_S = 1e-9
HOSTILE = st.one_of(
    st.sampled_from(["999999999s", "999999999d", "86400000", "9999-12-31T23:59:59Z"]),
    st.text(max_size=30),
)


@given(
    st.lists(
        st.tuples(
            HOSTILE,
            HOSTILE,
            st.one_of(st.none(), st.floats(min_value=0, max_value=86_400)),
            st.floats(min_value=0, max_value=1_000),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=100, deadline=None)
def test_hostile_headers_rest_nobody_for_longer_than_the_bound(
    said: list[tuple[str, str, float | None, float]],
) -> None:
    health, now_s = Health(), 0.0
    for reset, time, retry_after_s, passed_s in said:
        now_s += passed_s
        headers = {
            "date": "Thu, 01 Jan 1970 00:00:00 GMT",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": reset,
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": time,
        }
        health.answered(PLACE, rate_limits(headers), now_s=now_s)
        health.refused(PLACE, error("throttled", retry_after_s), now_s=now_s)
        assert rest_s(health, now_s) <= REST_S_MAX + ROUNDING_S
    assert rest_s(health, now_s + REST_S_MAX + ROUNDING_S) == 0.0


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten() -> None:
    health = Health(places_max=3)
    for name in "abcd":
        health.refused(Place("p", "", name), error("throttled", 9.0), now_s=0.0)
    assert [place.vendor_model_id for place, _ in health.places()] == ["b", "c", "d"]
