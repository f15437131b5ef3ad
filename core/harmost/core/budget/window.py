"""When a budget starts anew: calendar windows in UTC. Reads no clock.

An attempt is charged to the window of its admission, and a late settlement posts there too, so
nothing moves from one window to the next. A clock that jumps back returns to a window whose
balances are still kept: no allowance is ever given twice.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args

__all__ = ["TIME_NS_MAX", "WINDOWS", "Window", "WindowBounds", "window_bounds"]

Window = Literal["minute", "hour", "day", "week", "month", "total"]
WINDOWS: tuple[Window, ...] = get_args(Window)

# The beginning of 2262: nanoseconds since 1970 leave int64 in April of that year.
TIME_NS_MAX = 9_214_646_400 * 10**9

_SECOND_NS = 10**9
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 1970 began on a Thursday: its week began three days before it.
_MONDAY_S = -3 * _DAY_S
# Length in seconds, and where one such window begins.
_EVEN: dict[str, tuple[int, int]] = {
    "minute": (60, 0),
    "hour": (3_600, 0),
    "day": (_DAY_S, 0),
    "week": (7 * _DAY_S, _MONDAY_S),
}


class WindowBounds(NamedTuple):
    """From `start_ns` to just before `end_ns`, nanoseconds since 1970 in UTC."""

    start_ns: int
    end_ns: int


# Has no end: what is far beyond any clock stands for it.
_TOTAL = WindowBounds(0, 2**63 - 1)


def window_bounds(window: Window, now_ns: int) -> WindowBounds:
    """The window that holds `now_ns`, which is 0..TIME_NS_MAX, else ValueError. Total: 0, 2**63-1."""
    if not 0 <= now_ns <= TIME_NS_MAX:
        raise ValueError(f"`{now_ns}` ns is not a time from 1970 to 2261: set the clock")
    if window == "total":
        return _TOTAL
    if window == "month":
        return _month(now_ns)
    length_s, origin_s = _EVEN[window]
    start_s = now_ns // _SECOND_NS
    start_s -= (start_s - origin_s) % length_s
    return WindowBounds(start_s * _SECOND_NS, (start_s + length_s) * _SECOND_NS)


def _month(now_ns: int) -> WindowBounds:
    now = _EPOCH + timedelta(seconds=now_ns // _SECOND_NS)
    start = now.replace(day=1, hour=0, minute=0, second=0)
    end = (start + timedelta(days=31)).replace(day=1)
    return WindowBounds(_nanoseconds(start), _nanoseconds(end))


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1) * _SECOND_NS
