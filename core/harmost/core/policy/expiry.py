"""Times in documents, and a clock that never goes back, so that what has expired stays so. Pure."""

import re
from datetime import datetime

from harmost.core.resources.shapes import quoted

__all__ = ["LatestTime", "rfc3339_s"]

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def rfc3339_s(text: str) -> int:
    """Unix seconds of an RFC 3339 time with its zone, rounded down; ValueError for anything else."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no time: write RFC 3339, like `2027-01-31T00:00:00Z`")
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp() // 1)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(text)} is no time of the calendar: correct it") from None


class LatestTime:
    """The latest time that a process has seen: a clock set back revives no exception.

    One for each process that decides; not for use by several threads at once.
    """

    def __init__(self) -> None:
        self._latest_s = 0

    def at(self, clock_s: int) -> int:
        """`clock_s` (Unix seconds), or the latest before it if that was later."""
        self._latest_s = max(self._latest_s, clock_s)
        return self._latest_s
