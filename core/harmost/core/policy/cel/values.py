"""CEL's timestamps and durations as Python values, to the nanosecond; all other values are Python's own."""

from typing import NamedTuple

__all__ = ["Duration", "Timestamp"]


class Timestamp(NamedTuple):
    """`nanos` (0 to 999,999,999) after `seconds` since 1970, in UTC."""

    seconds: int
    nanos: int = 0


class Duration(NamedTuple):
    """`seconds` and `nanos` (below a second), both of one sign."""

    seconds: int
    nanos: int = 0
