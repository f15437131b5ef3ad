"""Retry hints of providers, in every form that they come in."""

import pytest

from harmost.core.errors import NotFound
from harmost.core.providers.failures import retry_after_s, stated
from harmost.core.providers.registry import CODECS, codec


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "150", "retry-after": "1"}, 0.15),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 2026", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_hints(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Output blocked by content filtering policy", "content_filtered"),
        ("prompt is too long: 210000 tokens > 200000 maximum", "context_too_long"),
        ("messages.0.content: Input should be a valid list", "rejected"),
    ],
)
def test_what_a_vendor_says_in_prose_alone_is_understood(words: str, kind: str) -> None:
    error = {"type": "invalid_request_error", "message": words}
    assert stated(error, kinds={}, status=400).kind == kind


def test_every_codec_is_found_by_its_name() -> None:
    for name in CODECS:
        assert codec(name) is codec(name)


def test_an_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="no codec is called `zork`: use one of openai, "):
        codec("zork")


# As Google's servers answer, of which there is one that speaks OpenAI's format.
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}
PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ([{**RETRY_INFO, "retryDelay": "22s"}], 22.0),
        ([{"@type": "other"}, {**RETRY_INFO, "retryDelay": "0.250s"}], 0.25),
        ([{**RETRY_INFO, "retryDelay": "999999999s"}], None),
        ([{**RETRY_INFO, "retryDelay": "-1s"}], None),
        ([{**RETRY_INFO, "retryDelay": "1e3s"}], None),
        ([{**RETRY_INFO, "retryDelay": "\u0661s"}], None),
        ([{**RETRY_INFO, "retryDelay": 22}], None),
        (["retryDelay", None, 3], None),
        ({"retryDelay": "22s"}, None),
        (None, None),
    ],
)
def test_a_body_tells_the_wait_where_headers_do_not(details: object, seconds: float | None) -> None:
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}
    told = stated(error, kinds={}, status=429)
    assert (told.kind, told.retry_after_s) == ("throttled", seconds)
    assert stated(error, kinds={}, status=429, retry_after_s=3.0).retry_after_s == 3.0


def test_a_quota_of_the_day_is_exhausted_and_not_waited_for() -> None:
    error = {"code": 429, "message": "quota exceeded", "details": [PER_DAY]}
    assert stated(error, kinds={}, status=429).kind == "quota_exhausted"
