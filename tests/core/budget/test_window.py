"""Windows of the UTC calendar."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.budget.window import TIME_NS_MAX, WINDOWS, Window, window_bounds


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        ("minute", "2026-11-22T18:43:58", "2026-11-22T18:43:00", "2026-11-22T18:44:00"),
        ("hour", "2026-11-22T18:43:58", "2026-11-22T18:00:00", "2026-11-22T19:00:00"),
        ("day", "2026-11-22T18:43:58", "2026-11-22", "2026-11-23"),
        ("week", "2026-11-22T18:43:58", "2026-11-16", "2026-11-23"),  # a Sunday
        ("week", "2026-11-23T00:00:00", "2026-11-23", "2026-11-30"),  # a Monday
        ("week", "1970-01-01T00:00:00", "1969-12-29", "1970-01-05"),
        ("month", "2026-11-22T18:43:58", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T00:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_a_window_begins_and_ends_with_the_calendar(
    window: Window, now: str, start: str, end: str
) -> None:
    assert window_bounds(window, ns(now)) == (ns(start), ns(end))


def test_total_never_ends() -> None:
    assert window_bounds("total", ns("2026-11-22")) == (0, 2**63 - 1)


@given(st.sampled_from(WINDOWS), st.integers(0, TIME_NS_MAX - 40 * 86_400 * 10**9))
def test_windows_follow_each_other_without_gap(window: Window, now_ns: int) -> None:
    start_ns, end_ns = window_bounds(window, now_ns)
    assert start_ns <= now_ns < end_ns
    if window != "total":
        assert window_bounds(window, end_ns - 1) == (start_ns, end_ns)
        assert window_bounds(window, end_ns).start_ns == end_ns


@pytest.mark.parametrize("now_ns", [-1, TIME_NS_MAX + 1])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_time_that_no_clock_shows_is_refused(window: Window, now_ns: int) -> None:
    with pytest.raises(ValueError, match="set the clock"):
        window_bounds(window, now_ns)
