"""What a provider's headers say is left of its rate limits, and when there is more again.

`x-ratelimit-*` (OpenAI, Azure, Groq, vLLM and others: durations such as `6m0s` or `20ms`, or seconds) and
`anthropic-ratelimit-*` (RFC 3339, counted from the answer's own `date`, so no clock is needed). Sources:
platform.openai.com/docs/guides/rate-limits; docs.claude.com/en/api/rate-limits. Headers are a provider's
word: what is unreadable says nothing, and how long it may count is bounded where it is used
(core/routing/health.py).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

__all__ = ["RateLimits", "rate_limits"]

_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_SECONDS = re.compile(_NUMBER, re.ASCII)
_DURATION = re.compile(
    rf"(?=.)(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?",
    re.ASCII,
)
_SCALES_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_TIME_CHARS_MAX = 64


class RateLimits(NamedTuple):
    """What is left; None: not told. `empty_s`: for so long one of them is used up; 0: none is."""

    requests_left: int | None
    tokens_left: int | None
    empty_s: float


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """What `headers`, named in lower case, say; None: nothing. O(1)."""
    found = [*_openai(headers), *_anthropic(headers)]
    if not found:
        return None
    requests = [left for kind, left, _ in found if kind == "requests"]
    tokens = [left for kind, left, _ in found if kind != "requests"]
    empty_s = max((reset_s for _, left, reset_s in found if left == 0), default=0.0)
    return RateLimits(min(requests, default=None), min(tokens, default=None), empty_s)


def _openai(headers: Mapping[str, str]) -> Iterator[tuple[str, int, float]]:
    for kind in ("requests", "tokens"):
        left = _left(headers, f"x-ratelimit-remaining-{kind}", f"x-ratelimit-limit-{kind}")
        if left is not None:
            yield kind, left, _duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))


def _anthropic(headers: Mapping[str, str]) -> Iterator[tuple[str, int, float]]:
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        name = f"anthropic-ratelimit-{kind}"
        left = _left(headers, f"{name}-remaining", f"{name}-limit")
        if left is not None:
            yield kind, left, _until_s(headers.get(f"{name}-reset", ""), headers.get("date", ""))


def _left(headers: Mapping[str, str], remaining: str, limit: str) -> int | None:
    """What remains. Azure says -1 where it does not know; a limit of 0 is that of who has none."""
    said = headers.get(remaining, "")
    if _COUNT.fullmatch(said) is None or headers.get(limit, "") == "0":
        return None
    return int(said)


def _duration_s(said: str) -> float:
    """Seconds in `6m0s`, `1.5s`, `20ms` or `12`; 0 where it says nothing readable."""
    if _SECONDS.fullmatch(said) is not None:
        return float(said)
    match = _DURATION.fullmatch(said)
    if match is None:
        return 0.0
    return sum(
        float(number) * scale
        for number, scale in zip(match.groups(), _SCALES_S, strict=True)
        if number
    )


def _until_s(then: str, now: str) -> float:
    if not then or len(then) > _TIME_CHARS_MAX or len(now) > _TIME_CHARS_MAX:
        return 0.0
    try:
        seconds = (datetime.fromisoformat(then) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(seconds, 0.0)
