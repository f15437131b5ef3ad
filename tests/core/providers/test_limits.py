"""What vendors' headers say of their rate limits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.providers.limits import RateLimits, rate_limits

DATE = "Wed, 25 Nov 2026 09:00:00 GMT"


def openai(left: str, reset: str, **more: str) -> dict[str, str]:
    return {
        "x-ratelimit-remaining-requests": left,
        "x-ratelimit-reset-requests": reset,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("1m30.5s", 90.5),
        ("2h", 7_200.0),
        ("1h2m3s", 3_723.0),
        ("1m20ms", 60.02),
        ("8.64s", 8.64),
        ("1d", 86_400.0),
        ("12", 12.0),  # Azure
        ("0", 0.0),
        ("", 0.0),
        ("-5", 0.0),
        ("s", 0.0),
        ("6s0m", 0.0),
        ("1e9", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("٣s", 0.0),
        ("9" * 400 + "s", 0.0),
    ],
)
def test_openai_s_durations_and_azure_s_seconds_are_read(said: str, seconds: float) -> None:
    assert rate_limits(openai("0", said)) == RateLimits(0, None, pytest.approx(seconds))


def test_a_limit_that_is_not_used_up_empties_nothing() -> None:
    said = openai("59", "1s", x_ratelimit_remaining_tokens="7", x_ratelimit_reset_tokens="6m0s")
    assert rate_limits(said) == RateLimits(59, 7, 0.0)


def test_the_longer_of_two_limits_that_are_used_up_counts() -> None:
    said = openai("0", "1s", x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="6m0s")
    assert rate_limits(said) == RateLimits(0, 0, 360.0)


@pytest.mark.parametrize(
    "said",
    [
        {},
        openai("-1", "60"),  # Azure, where it does not know
        openai("", "60"),
        openai("many", "60"),
        openai("1e3", "60"),
        openai("0", "60", x_ratelimit_limit_requests="0"),  # who has no limit
        {"x-ratelimit-reset-requests": "60"},
    ],
)
def test_what_says_nothing_of_what_is_left_says_nothing(said: dict[str, str]) -> None:
    assert rate_limits(said) is None


def anthropic(kind: str, left: str, reset: str, date: str = DATE) -> dict[str, str]:
    name = f"anthropic-ratelimit-{kind}"
    return {f"{name}-remaining": left, f"{name}-reset": reset, "date": date}


@pytest.mark.parametrize(
    ("reset", "date", "seconds"),
    [
        ("2026-11-25T09:00:30Z", DATE, 30.0),
        ("2026-11-25T10:00:30+01:00", DATE, 30.0),
        ("2026-11-25T08:59:00Z", DATE, 0.0),  # past
        ("2026-11-25T09:00:30Z", "", 0.0),  # from when is not known
        ("2026-11-25T09:00:30", DATE, 0.0),  # in which zone is not known
        ("tomorrow", DATE, 0.0),
        ("9" * 100, DATE, 0.0),
        ("2026-11-25T09:00:30Z", "yesterday", 0.0),
    ],
)
def test_anthropic_s_reset_counts_from_the_answer_s_own_date(
    reset: str, date: str, seconds: float
) -> None:
    for kind in ("tokens", "input-tokens", "output-tokens"):
        assert rate_limits(anthropic(kind, "0", reset, date)) == RateLimits(None, 0, seconds)
    assert rate_limits(anthropic("requests", "0", reset, date)) == RateLimits(0, None, seconds)


VALUES = st.one_of(
    st.text(max_size=80),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,12})?(ms|s|m|h|d)", fullmatch=True),
    st.datetimes().map(lambda each: each.isoformat() + "Z"),
)
NAMES = [*openai("", ""), *anthropic("tokens", "", ""), "x-ratelimit-limit-requests"]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@settings(max_examples=200, deadline=None)
def test_no_headers_make_it_raise_or_say_what_is_no_time(headers: dict[str, str]) -> None:
    said = rate_limits(headers)
    if said is not None:
        assert math.isfinite(said.empty_s)
        assert said.empty_s >= 0
        assert (said.requests_left or 0) >= 0
        assert (said.tokens_left or 0) >= 0
