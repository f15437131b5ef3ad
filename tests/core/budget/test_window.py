"""Windows of calendars in time zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.budget.window import (
    TIME_NS_MAX,
    UTC_CALENDAR,
    WINDOWS,
    ZONES_VERSION,
    Calendar,
    Window,
    check_calendar,
    window_bounds,
)

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
# Where clocks change at or across midnight, skip a day, are off by parts of an hour, or never change.
ODD_ZONES = (
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
    "Africa/Monrovia",
    "Antarctica/Troll",
    "Europe/Berlin",
    "UTC",
)
times = st.integers(0, TIME_NS_MAX - 40 * DAY_NS)
calendars = st.builds(Calendar, st.sampled_from(ODD_ZONES), st.integers(1, 28))


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


@pytest.mark.parametrize(
    ("calendar", "window", "now", "start", "end"),
    [
        # Clocks go forward: 23 hours; and back: 25.
        (("Europe/Berlin", 1), "day", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        (("Europe/Berlin", 1), "day", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        # In the hour that comes twice, both times.
        (("Europe/Berlin", 1), "day", "2026-10-25T00:30", "2026-10-24T22:00", "2026-10-25T23:00"),
        (("Europe/Berlin", 1), "day", "2026-10-25T01:30", "2026-10-24T22:00", "2026-10-25T23:00"),
        (("Europe/Berlin", 1), "month", "2026-03-05", "2026-02-28T23:00", "2026-03-31T22:00"),
        (("Europe/Berlin", 1), "week", "2026-03-29T22:00", "2026-03-29T22:00", "2026-04-05T22:00"),
        # A midnight that clocks skip: the day begins at one.
        (
            ("America/Sao_Paulo", 1),
            "day",
            "2018-11-04T12:00",
            "2018-11-04T03:00",
            "2018-11-05T02:00",
        ),
        # A date that is shown twice, before and after one minute of the next: no window comes twice.
        (
            ("America/St_Johns", 1),
            "day",
            "2010-11-07T02:31",
            "2010-11-07T02:30",
            "2010-11-08T03:30",
        ),
        (
            ("America/St_Johns", 1),
            "day",
            "2010-11-07T02:29",
            "2010-11-06T02:30",
            "2010-11-07T02:30",
        ),
        # A day that never was.
        (("Pacific/Apia", 1), "day", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
        (("Pacific/Apia", 1), "day", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        (("Asia/Kathmandu", 1), "day", "2026-11-22T18:14", "2026-11-21T18:15", "2026-11-22T18:15"),
        # Months from the 15th.
        (("UTC", 15), "month", "2026-11-14T23:59", "2026-10-15", "2026-11-15"),
        (("UTC", 15), "month", "2026-11-15", "2026-11-15", "2026-12-15"),
        (("UTC", 28), "month", "2027-01-03", "2026-12-28", "2027-01-28"),
        # Minutes and hours are the same everywhere.
        (("Asia/Kathmandu", 9), "hour", "2026-11-22T18:14", "2026-11-22T18:00", "2026-11-22T19:00"),
    ],
)
def test_days_weeks_and_months_are_those_of_the_zone(
    calendar: tuple[str, int], window: Window, now: str, start: str, end: str
) -> None:
    assert window_bounds(window, ns(now), Calendar(*calendar)) == (ns(start), ns(end))


def test_total_never_ends() -> None:
    assert window_bounds("total", ns("2026-11-22"), Calendar("Asia/Tokyo", 9)) == (0, 2**63 - 1)


@given(st.sampled_from(WINDOWS), times, calendars)
@settings(max_examples=effort(300, ci=2_000, nightly=100_000), deadline=None)
def test_windows_follow_each_other_without_gap(
    window: Window, now_ns: int, calendar: Calendar
) -> None:
    start_ns, end_ns = window_bounds(window, now_ns, calendar)
    assert start_ns <= now_ns < end_ns
    if window != "total":
        assert window_bounds(window, end_ns - 1, calendar) == (start_ns, end_ns)
        assert window_bounds(window, end_ns, calendar).start_ns == end_ns


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_a_day_begins_when_its_date_is_first_shown(zone: str) -> None:
    """Against a twin that looks at every quarter of an hour of two years."""
    calendar, quarter_ns = Calendar(zone), 15 * 60 * 10**9
    now_ns, end_ns = ns("2009-12-25"), ns("2012-01-10")
    shown = latest = _date(now_ns, zone)
    starts: list[int] = []
    while now_ns < end_ns:
        now_ns += quarter_ns
        shown = _date(now_ns, zone)
        if shown > latest:
            latest = shown
            starts.append(now_ns)
    for start_ns in starts:
        begins_ns = window_bounds("day", start_ns, calendar).start_ns
        # St. John's changed its clocks one minute after midnight.
        assert start_ns - quarter_ns < begins_ns <= start_ns
    days = [
        window_bounds("day", start_ns, calendar).end_ns
        - window_bounds("day", start_ns, calendar).start_ns
        for start_ns in starts
    ]
    assert all(22 * HOUR_NS <= length <= 26 * HOUR_NS for length in days)


def _date(now_ns: int, zone: str) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=now_ns // 10**9)
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


def test_every_zone_of_the_tables_is_known() -> None:
    for zone in sorted(available_timezones() - {"localtime"}):
        check_calendar(Calendar(zone))
    assert ZONES_VERSION >= "2026"


@pytest.mark.parametrize(
    "zone",
    ["", "Berlin", "Europe/Berln", "../../etc/passwd", "/etc/localtime", "CET+1/../x", "a" * 999],
)
def test_a_zone_that_is_not_known_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"is no time zone: write an IANA name"):
        check_calendar(Calendar(zone))


@pytest.mark.parametrize("day", [0, 29, -1])
def test_a_month_begins_on_a_day_that_every_month_has(day: int) -> None:
    with pytest.raises(ValueError, match="state 1 to 28"):
        check_calendar(Calendar("UTC", day))


@pytest.mark.parametrize("now_ns", [-1, TIME_NS_MAX + 1])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_time_that_no_clock_shows_is_refused(window: Window, now_ns: int) -> None:
    with pytest.raises(ValueError, match="set the clock"):
        window_bounds(window, now_ns, UTC_CALENDAR)
