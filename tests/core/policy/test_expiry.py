"""Times with zones, and a clock that never goes back."""

import pytest

from harmost.core.policy.expiry import LatestTime, rfc3339_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2027-01-31T00:00:00Z", 1_801_353_600),
        ("2027-01-31T01:00:00+01:00", 1_801_353_600),
        ("2027-01-30t19:00:00.999-05:00", 1_801_353_600),
        ("2027-01-31 00:00:00z", 1_801_353_600),
    ],
)
def test_an_rfc_3339_time_is_read_with_its_zone(text: str, seconds: int) -> None:
    assert rfc3339_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-01-31",
        "2027-01-31T00:00:00",
        "20270131T000000Z",
        "2027-02-30T00:00:00Z",
        "2027-01-31T25:00:00Z",
        "2027-01-31T00:00:00+25:00",
        "0001-01-01T00:00:00+14:00" * 2,
        "२०२७-01-31T00:00:00Z",
        "2027-01-31T00:00:00Z\n",
        "30d",
    ],
)
def test_what_is_no_such_time_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="is no time") as refused:
        rfc3339_s(text)
    assert "\n" not in str(refused.value)


def test_a_clock_set_back_stays_at_the_latest_time_it_told() -> None:
    latest = LatestTime()
    assert [latest.at(now_s) for now_s in (100, 50, 99, 101, 0)] == [100, 100, 100, 101, 101]
