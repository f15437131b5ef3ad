"""Percentiles from buckets are never below the true ones, and at most 19 % above."""

import math
import random

import pytest

from harmost.core.stats.histogram import BUCKETS, Histogram, difference, percentile_ns


def true_percentile_ns(durations: list[int], permille: int) -> int:
    return sorted(durations)[math.ceil(len(durations) * permille / 1000) - 1]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("permille", [1, 500, 990, 999, 1000])
def test_a_percentile_is_at_most_a_bucket_above_the_true_one(seed: int, permille: int) -> None:
    source = random.Random(seed)
    durations = [int(1_000 * 10 ** source.uniform(0, 6)) for _ in range(500)]
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    true = true_percentile_ns(durations, permille)
    assert true - 1 <= percentile_ns(histogram.counts, permille) <= true * 2**0.25 + 1


def test_an_empty_histogram_has_no_percentile() -> None:
    assert percentile_ns(Histogram().counts, 990) == 0


@pytest.mark.parametrize(("duration_ns", "bucket"), [(0, 0), (1_000, 0), (10**15, BUCKETS - 1)])
def test_what_lies_beyond_counts_at_the_ends(duration_ns: int, bucket: int) -> None:
    histogram = Histogram()
    histogram.add(duration_ns)
    assert histogram.counts[bucket] == sum(histogram.counts) == 1


def test_the_difference_of_two_readings_is_what_came_between() -> None:
    histogram = Histogram()
    histogram.add(5_000)
    before = list(histogram.counts)
    histogram.add(2_000_000)
    between = difference(histogram.counts, before)
    assert sum(between) == 1
    assert percentile_ns(between, 500) >= 2_000_000
