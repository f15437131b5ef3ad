"""When a budget starts anew: calendar windows in a time zone. Reads no clock.

An attempt is charged to the window of its admission, and a late settlement posts there too, so
nothing moves from one window to the next. A clock that jumps back returns to a window whose
balances are still kept: no allowance is ever given twice.

Days, weeks and months are those of the calendar's zone: a day in which clocks change has 23 or 25
hours. Minutes and hours are the same everywhere. Zones come from the package `tzdata`, never from
the machine, so every host of a deployment has the same windows.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

import tzdata

__all__ = [
    "TIME_NS_MAX",
    "UTC_CALENDAR",
    "WINDOWS",
    "ZONES_VERSION",
    "Calendar",
    "Window",
    "WindowBounds",
    "check_calendar",
    "window_bounds",
]

Window = Literal["minute", "hour", "day", "week", "month", "total"]
WINDOWS: tuple[Window, ...] = get_args(Window)

# The beginning of 2262: nanoseconds since 1970 leave int64 in April of that year.
TIME_NS_MAX = 9_214_646_400 * 10**9
# Which rules of the world's time zones these are, such as "2026f".
ZONES_VERSION: str = tzdata.IANA_VERSION

_SECOND_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVEN_S = {"minute": 60, "hour": 3_600}
_DAY = timedelta(days=1)


class Calendar(NamedTuple):
    """Whose days are meant: an IANA time zone, and the day, 1..28, on which its months begin."""

    zone: str = "UTC"
    month_day: int = 1


UTC_CALENDAR = Calendar()


class WindowBounds(NamedTuple):
    """From `start_ns` to just before `end_ns`, nanoseconds since 1970 in UTC."""

    start_ns: int
    end_ns: int


# Has no end: what is far beyond any clock stands for it.
_TOTAL = WindowBounds(0, 2**63 - 1)


def check_calendar(calendar: Calendar) -> None:
    """ValueError, for people, where there is no such zone or day."""
    _zone(calendar.zone)
    if not 1 <= calendar.month_day <= 28:
        raise ValueError(f"months cannot begin on day `{calendar.month_day}`: state 1 to 28")


def window_bounds(window: Window, now_ns: int, calendar: Calendar = UTC_CALENDAR) -> WindowBounds:
    """The window that holds `now_ns`, which is 0..TIME_NS_MAX, else ValueError. Total: 0, 2**63-1."""
    if not 0 <= now_ns <= TIME_NS_MAX:
        raise ValueError(f"`{now_ns}` ns is not a time from 1970 to 2261: set the clock")
    if window == "total":
        return _TOTAL
    now_s = now_ns // _SECOND_NS
    if window in _EVEN_S:
        length_s = _EVEN_S[window]
        start_s = now_s - now_s % length_s
        return WindowBounds(start_s * _SECOND_NS, (start_s + length_s) * _SECOND_NS)
    return _calendar_window(window, now_s, calendar)


def _calendar_window(window: Window, now_s: int, calendar: Calendar) -> WindowBounds:
    zone = _zone(calendar.zone)
    first = _first_day(window, _shown(zone, now_s).date(), calendar.month_day)
    # Where clocks change at midnight a date can end twice: its label alone does not tell the window.
    while _begin_s(zone, first) > now_s:
        first = _first_day(window, first - _DAY, calendar.month_day)
    following = _next_first_day(window, first, calendar.month_day)
    while _begin_s(zone, following) <= now_s:
        first, following = following, _next_first_day(window, following, calendar.month_day)
    return WindowBounds(_begin_s(zone, first) * _SECOND_NS, _begin_s(zone, following) * _SECOND_NS)


def _first_day(window: Window, day: date, month_day: int) -> date:
    if window == "day":
        return day
    if window == "week":
        return day - timedelta(days=day.weekday())
    if day.day >= month_day:
        return day.replace(day=month_day)
    return (day.replace(day=1) - _DAY).replace(day=month_day)


def _next_first_day(window: Window, first: date, month_day: int) -> date:
    if window == "day":
        return first + _DAY
    if window == "week":
        return first + 7 * _DAY
    return (first.replace(day=1) + timedelta(days=31)).replace(day=month_day)


@lru_cache(4_096)
def _begin_s(zone: ZoneInfo, day: date) -> int:
    """The first second, since 1970, at which the zone's clocks show `day` or later."""
    midnight = datetime(day.year, day.month, day.day)
    early_s, late_s = sorted(
        int((midnight.replace(tzinfo=zone, fold=fold) - _EPOCH).total_seconds()) for fold in (0, 1)
    )
    # Of a midnight that comes twice the first counts; one that clocks skip lies between the two.
    if _shown(zone, early_s) >= midnight:
        return early_s
    while early_s < late_s:
        middle_s = (early_s + late_s) // 2
        if _shown(zone, middle_s) >= midnight:
            late_s = middle_s
        else:
            early_s = middle_s + 1
    return late_s


def _shown(zone: ZoneInfo, moment_s: int) -> datetime:
    return (_EPOCH + timedelta(seconds=moment_s)).astimezone(zone).replace(tzinfo=None)


@lru_cache(1_024)
def _zone(name: str) -> ZoneInfo:
    """The zone of an IANA name; ValueError where the tables have none of it."""
    tables = files("tzdata")
    if name not in tables.joinpath("zones").read_text().split():
        raise ValueError(f"`{name[:60]}` is no time zone: write an IANA name like `Europe/Berlin`")
    with tables.joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
