"""Warnings, cheaper models and a slower pace before a budget is used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.thresholds import (
    NO_WINDOW,
    Advice,
    UsedShare,
    advise,
    asks_from_permille,
)
from harmost.core.budget.window import Window, window_bounds

HOUR_NS = 3_600 * 10**9


def share(
    permille: int,
    *,
    hard: bool = False,
    warn: int = 0,
    cheaper: int = 0,
    throttle: int = 0,
    window: Window = "day",
    name: str = "b",
) -> UsedShare:
    limit = BudgetLimit(
        budget=name,
        tenant="a",
        node="tenant:a",
        unit=Unit.USD_NANOS,
        window=window,
        limit=1_000,
        hard=hard,
        warn_at_permille=warn,
        cheaper_at_permille=cheaper,
        throttle_at_permille=throttle,
    )
    return UsedShare(limit, permille, window_bounds(window, 0))


@pytest.mark.parametrize(("used", "warned"), [(799, False), (800, True), (5_000, True)])
def test_a_limit_warns_from_its_threshold_on(used: int, warned: bool) -> None:
    assert bool(advise([share(used, warn=800, hard=True)], now_ns=0).warns) is warned


def test_a_soft_limit_warns_when_it_is_exceeded_even_without_a_threshold() -> None:
    assert advise([share(1_000)], now_ns=0).warns == ()
    assert advise([share(1_001)], now_ns=0).warns != ()
    assert advise([share(1_001, hard=True)], now_ns=0).warns == ()


def test_without_thresholds_nothing_is_asked_for() -> None:
    assert advise([share(1_000), share(0)], now_ns=0) == Advice()


@pytest.mark.parametrize(("used", "asked"), [(499, False), (500, True)])
def test_a_limit_prefers_cheaper_models_from_its_threshold_on(used: int, asked: bool) -> None:
    assert (advise([share(used, cheaper=500)], now_ns=0).cheaper is not None) is asked


@pytest.mark.parametrize(
    ("used", "hours", "wait_hours"),
    [
        (499, 0, 0),
        (500, 0, 0),  # at the threshold the pace begins
        (750, 0, 12),  # half of the rest is for half of the day
        (750, 11, 1),
        (750, 12, 0),
        (1_000, 6, 18),
        (2_000, 6, 18),  # never beyond the end of the window
    ],
)
def test_a_limit_spreads_what_is_left_evenly_over_its_window(
    used: int, hours: int, wait_hours: int
) -> None:
    throttle = advise([share(used, throttle=500)], now_ns=hours * HOUR_NS).throttle
    assert (throttle.retry_after_ns if throttle is not None else 0) == wait_hours * HOUR_NS


def test_a_threshold_at_the_whole_limit_throttles_until_the_window_ends() -> None:
    throttle = advise([share(1_000, throttle=1_000)], now_ns=HOUR_NS).throttle
    assert throttle is not None
    assert throttle.retry_after_ns == 23 * HOUR_NS


def test_a_total_throttles_for_a_minute() -> None:
    throttle = advise([share(600, throttle=500, window="total")], now_ns=HOUR_NS).throttle
    assert throttle is not None
    assert throttle.retry_after_ns == 60 * 10**9


def test_of_several_the_longest_wait_counts() -> None:
    shares = [share(600, throttle=500, name="x"), share(900, throttle=500, name="y")]
    throttle = advise(shares, now_ns=0).throttle
    assert throttle is not None
    assert throttle.limit.budget == "y"


def test_a_rate_throttles_until_it_is_at_its_threshold_again() -> None:
    used = share(900, hard=True, throttle=800, window="minute")._replace(bounds=NO_WINDOW)
    throttle = advise([used], now_ns=10**18).throttle
    assert throttle is not None
    assert throttle.retry_after_ns == 6 * 10**9  # a tenth of a minute's worth
    at_it = share(800, hard=True, throttle=800, window="minute")._replace(bounds=NO_WINDOW)
    assert advise([at_it], now_ns=10**18).throttle is None


thresholds = st.just(0) | st.integers(1, 1_200)


@given(st.integers(0, 1_500), st.booleans(), thresholds, thresholds, thresholds)
def test_below_where_a_limit_asks_from_it_asks_for_nothing(
    permille: int, hard: bool, warn: int, cheaper: int, throttle: int
) -> None:
    told = share(permille, hard=hard, warn=warn, cheaper=cheaper, throttle=throttle)
    asks_from = asks_from_permille(told.limit)
    if asks_from is None or permille < asks_from:
        assert advise([told], now_ns=0) == Advice()
    elif asks_from != throttle:  # a pace is not always too fast
        assert advise([told], now_ns=0) != Advice()
