"""Retry hints of providers, in every form that they come in."""

import pytest

from harmost.core.errors import NotFound
from harmost.core.providers.failures import retry_after_s
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


def test_every_codec_is_found_by_its_name() -> None:
    for name in CODECS:
        assert codec(name) is CODECS[name]


def test_an_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="no codec is called `zork`: use one of openai, anthropic"):
        codec("zork")
