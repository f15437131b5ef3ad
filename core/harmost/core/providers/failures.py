"""What every vendor's failures have in common: classes by HTTP status, retry hints, bounded words."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from harmost.core.limits import ERROR_MESSAGE_CHARS_MAX
from harmost.core.providers.codec import ProviderError, ProviderErrorKind

__all__ = ["UNREADABLE", "broken", "failure", "retry_after_s", "stated"]

# What msgspec raises on hostile JSON: wrong types, invalid UTF-8, huge numbers, deep nesting.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)s", re.ASCII)
_RETRY_AFTER_S_MAX = 86_400.0  # a day: a longer hint is no hint

# Vendors state these in a code, a type or only in prose, under several statuses.
_MONEY = (
    "insufficient_quota",
    "credit_balance",
    "credit balance",
    "billing",
    "spend_limit",
    "spending_limit",
    "usage_limit_reached",
    "exceeded your current quota",
    "perday",  # Google's quotas by the day: no wait of a call's length helps
)
_CONTEXT = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "prompt is too long",
    "exceeds the maximum number of tokens",  # Google
    "request_too_large",
    "exceed_context_size_error",  # llama.cpp
    "maximum prompt length",  # xAI
    "`inputs` tokens + `max_new_tokens`",  # Together
)
_CONTENT = (
    "content_filter",
    "content_policy",
    "content filtering policy",
    "responsibleaipolicyviolation",
)


def broken(message: str) -> ProviderError:
    """The provider's bytes are no answer, or break off."""
    return failure("broken", message)


def failure(
    kind: ProviderErrorKind, message: str, *, status: int = 0, retry_after_s: float | None = None
) -> ProviderError:
    """A failure with `message` on one line, cut to the bound."""
    words = " ".join(message.split())[:ERROR_MESSAGE_CHARS_MAX]
    return ProviderError(kind=kind, message=words, http_status=status, retry_after_s=retry_after_s)


def stated(
    error: Any,
    *,
    kinds: Mapping[str, ProviderErrorKind],
    status: int = 0,
    retry_after_s: float | None = None,
    kind: ProviderErrorKind | None = None,
) -> ProviderError:
    """What a vendor's `error` member means: an object, or whatever a look-alike sends.

    `kind`, where the codec knows it, comes first, then what the words say, then `status` (0 inside a stream), then the vendor's `kinds`.
    `retry_after_s` is what the headers say; where they are silent, the body may tell it.
    """
    fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}  # pyright: ignore[reportUnknownVariableType]
    code, type_, message = (
        value if isinstance(value, str) else ""
        for value in (fields.get("code"), fields.get("type"), fields.get("message"))
    )
    details = msgspec.json.encode(fields.get("details")).decode()
    kind = kind or _kind_of_words(code, type_, message, details)
    if kind is None and status >= 400:
        kind = _kind_of_status(status)
    elif kind is None and error is None:
        kind = "broken"
    elif kind is None:
        kind = kinds.get(code) or kinds.get(type_) or "provider_error"
    name = code or type_
    words = f"{name}: {message}" if name else message
    return failure(
        kind,
        words or "no answer, and no reason given",
        status=status,
        retry_after_s=_told_delay_s(fields.get("details"))
        if retry_after_s is None
        else retry_after_s,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the provider asks, 0 to a day; None where it says nothing usable.

    Source: RFC 9110, section 10.2.3; a date counts from the answer's own `date`, so no clock is
    needed. `retry-after-ms` is finer and comes first.
    """
    for value, scale in (
        (headers.get("retry-after-ms", ""), 0.001),
        (headers.get("retry-after", ""), 1.0),
    ):
        try:
            seconds = float(value) * scale
        except ValueError:
            continue
        if 0 <= seconds <= _RETRY_AFTER_S_MAX:
            return seconds
    return _seconds_until(headers.get("retry-after", ""), headers.get("date", ""))


def _told_delay_s(details: Any) -> float | None:
    """Of google.rpc.RetryInfo among `details`: a duration such as "22s" or "0.5s"."""
    for detail in details if isinstance(details, list) else []:  # pyright: ignore[reportUnknownVariableType]
        delay: Any = detail.get("retryDelay") if isinstance(detail, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        match = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if match is not None and float(match[1]) <= _RETRY_AFTER_S_MAX:
            return float(match[1])
    return None


def _kind_of_status(status: int) -> ProviderErrorKind:
    """The class of an HTTP status other than a good answer, where the body does not say more."""
    if status in (401, 403):
        return "auth"
    if status == 402:
        return "quota_exhausted"
    if status == 404:
        return "not_found"
    if status in (408, 504):
        return "timeout"
    if status == 413:
        return "context_too_long"
    if status == 429:
        return "throttled"
    if status in (503, 529):
        return "overloaded"
    if status >= 500 or status == 424:
        return "provider_error"
    if status >= 400:
        return "rejected"
    return "broken"


def _kind_of_words(*words: str) -> ProviderErrorKind | None:
    """The class that a vendor's code, type or message names, whatever the status; None: no such."""
    text = " ".join(words).lower()
    if any(mark in text for mark in _MONEY):
        return "quota_exhausted"
    if any(mark in text for mark in _CONTEXT):
        return "context_too_long"
    if any(mark in text for mark in _CONTENT):
        return "content_filtered"
    return None


def _seconds_until(then: str, now: str) -> float | None:
    try:
        seconds = (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds <= _RETRY_AFTER_S_MAX else None
