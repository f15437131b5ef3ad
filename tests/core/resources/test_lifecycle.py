"""What is told of a model that ends."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.resources.kinds import ModelSpec
from harmost.core.resources.lifecycle import NEAR_DAYS, day, has_end, warning_of

TODAY = date(2026, 11, 25)


def told(**said: Any) -> str:
    return warning_of("m", ModelSpec(provider="p", vendor_model_id="v", **said), TODAY)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ""),
        ({"status": "canary"}, ""),
        ({"retires_on": "2027-02-24"}, ""),
        (
            {"retires_on": "2027-02-23"},
            "model `m` retires on 2027-02-23, in 90 days: use another one",
        ),
        (
            {"retires_on": "2026-11-26"},
            "model `m` retires on 2026-11-26, in 1 day: use another one",
        ),
        ({"retires_on": "2026-11-25"}, "model `m` is retired since 2026-11-25: use another one"),
        ({"deprecated_on": "2026-11-26"}, ""),
        (
            {"deprecated_on": "2026-11-25", "retires_on": "2028-01-01", "replacement": "n"},
            "model `m` is deprecated since 2026-11-25 and retires on 2028-01-01: use `n`",
        ),
        ({"status": "deprecated"}, "model `m` is deprecated: use another one"),
        ({"status": "retired", "replacement": "n"}, "model `m` is retired: use `n`"),
    ],
)
def test_a_model_is_warned_of_by_its_days_and_status(said: dict[str, Any], expected: str) -> None:
    assert told(**said) == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000), st.integers(0, 1_000), st.integers(0, 3_000))
def test_once_warned_of_a_model_is_warned_of_for_ever(first: int, then: int, later: int) -> None:
    ends = TODAY + timedelta(days=first)
    model = ModelSpec(
        provider="p",
        vendor_model_id="v",
        deprecated_on=ends.isoformat(),
        retires_on=(ends + timedelta(days=then)).isoformat(),
    )
    warned = [
        bool(warning_of("m", model, TODAY + timedelta(days=days)))
        for days in (later, later + 1, later + NEAR_DAYS)
    ]
    assert warned == sorted(warned)


def test_what_has_no_end_is_known_without_a_clock() -> None:
    plain = ModelSpec(provider="p", vendor_model_id="v")
    assert not has_end(plain)
    assert has_end(ModelSpec(provider="p", vendor_model_id="v", retires_on="2030-01-01"))


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-1-1", "20260101", "2026-02-30", "2026-01-01T00"]
)
def test_a_day_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match="is no day: write it like 2027-01-31"):
        day(text)
