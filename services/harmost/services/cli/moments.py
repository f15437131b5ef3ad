"""Spans and moments as people write them: "90s", "15m", "1h", "7d", or an RFC 3339 time."""

import re
from datetime import UTC, datetime, timedelta

from harmost.core.errors import InvalidInput

__all__ = ["moment", "seconds"]

SPAN = re.compile(r"([0-9]{1,9})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> int:
    """Seconds in a span such as "1h"."""
    match = SPAN.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"`{text}` is no span of time: write 90s, 15m, 1h or 7d")
    return int(match[1]) * SECONDS[match[2]]


def moment(text: str, *, now: datetime) -> datetime:
    """A time: `text` before `now` if it is a span, else the RFC 3339 time in it (UTC if none)."""
    try:
        if SPAN.fullmatch(text.strip()):
            return now - timedelta(seconds=seconds(text))
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"`{text}` is no time: write a span such as 24h, or 2026-01-31T12:00:00Z"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
