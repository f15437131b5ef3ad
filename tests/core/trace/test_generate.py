"""What every generated trace is, whatever the seed."""

from collections import Counter

import pytest

from harmost.core.errors import InvalidInput
from harmost.core.trace.generate import Share, generate


def test_the_same_seed_makes_the_same_trace_and_another_seed_another() -> None:
    def made(seed: int) -> list[object]:
        return list(generate(requests=50, duration_s=10, seed=seed))

    assert made(1) == made(1)
    assert made(1) != made(2)


@pytest.mark.parametrize(("requests", "duration_s"), [(1, 1), (2, 1), (1_000, 3), (1_000, 3_600)])
def test_there_are_as_many_as_asked_in_order_within_the_duration(
    requests: int, duration_s: int
) -> None:
    arrivals = list(generate(requests=requests, duration_s=duration_s, seed=7))
    offsets = [arrival.offset_ns for arrival in arrivals]
    assert len(arrivals) == requests
    assert offsets == sorted(offsets)
    assert 0 <= offsets[0] <= offsets[-1] < duration_s * 1_000_000_000
    assert all(2 <= a.input_tokens <= 14_050 for a in arrivals)
    assert all(7 <= a.output_tokens <= 1_000 for a in arrivals)


def test_shares_are_given_by_weight() -> None:
    shares = [Share("acme/a", "x", 3), Share("acme/b", "y", 1)]
    arrivals = generate(requests=4_000, duration_s=60, seed=1, shares=shares)
    counted = Counter((arrival.tenant, arrival.profile) for arrival in arrivals)
    assert set(counted) == {("acme/a", "x"), ("acme/b", "y")}
    assert 2_850 < counted["acme/a", "x"] < 3_150  # 3,000 +- 5 deviations of a binomial


@pytest.mark.parametrize(("requests", "duration_s"), [(0, 1), (1, 0), (1, 10**9), (10**9, 1)])
def test_bounds_are_stated(requests: int, duration_s: int) -> None:
    with pytest.raises(InvalidInput, match="must be from 1"):
        next(generate(requests=requests, duration_s=duration_s, seed=1))
