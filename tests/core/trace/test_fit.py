"""The generated trace is like the real one: each measure within what seeds scatter.

The swings make one hour differ from the next, so burstiness is compared with the middle of eight
seeds; lengths are many independent draws, so one seed will do.
"""

import itertools
from statistics import median

import pytest

from harmost.core.trace.arrival import Arrival
from harmost.core.trace.generate import generate
from harmost.core.trace.shape import Shape, shape_of

SEEDS = range(8)


def made(seed: int) -> list[Arrival]:
    return list(generate(requests=19_366, duration_s=3_502, seed=seed))


@pytest.fixture(scope="module")
def shapes() -> list[Shape]:
    return [shape_of(made(seed)) for seed in SEEDS]


def test_the_real_trace_is_read_whole(real: list[Arrival]) -> None:
    shape = shape_of(real)
    assert shape.requests == 19_366
    assert shape.duration_s == pytest.approx(3_501.7219, abs=1e-3)
    assert (shape.input_mean, shape.output_mean) == pytest.approx((1_154.70, 211.13), abs=0.01)


@pytest.mark.parametrize(
    ("measure", "tolerance"),
    [("gap_cv", 0.05), ("second_cv", 0.05), ("ten_seconds_cv", 0.1), ("minute_cv", 0.15)],
)
def test_burstiness_is_alike(
    real: list[Arrival], shapes: list[Shape], measure: str, tolerance: float
) -> None:
    found = median(getattr(shape, measure) for shape in shapes)
    assert found == pytest.approx(getattr(shape_of(real), measure), rel=tolerance)


def test_lengths_are_alike(real: list[Arrival], shapes: list[Shape]) -> None:
    wanted, found = shape_of(real), shapes[0]
    assert found.input_mean == pytest.approx(wanted.input_mean, rel=0.03)
    assert found.output_mean == pytest.approx(wanted.output_mean, rel=0.05)
    assert found.input_quantiles == pytest.approx(wanted.input_quantiles, rel=0.06)
    assert found.output_quantiles == pytest.approx(wanted.output_quantiles, rel=0.06)


@pytest.mark.parametrize("column", ["input_tokens", "output_tokens"])
def test_length_distributions_are_close_everywhere(real: list[Arrival], column: str) -> None:
    distance = _kolmogorov_smirnov(
        sorted(getattr(a, column) for a in real), sorted(getattr(a, column) for a in made(0))
    )
    # Two samples of one law of this size stay below 0.016 in 99 of 100 cases; lines between
    # quantiles cost the rest.
    assert distance < 0.03


def test_gaps_within_a_minute_are_exponential(real: list[Arrival]) -> None:
    real_gaps, made_gaps = _scaled_gaps(real), _scaled_gaps(made(0))
    assert _kolmogorov_smirnov(real_gaps, made_gaps) < 0.03


def _scaled_gaps(arrivals: list[Arrival]) -> list[float]:
    """Gaps over the mean gap of their minute, in order of size."""
    by_minute: dict[int, list[int]] = {}
    for earlier, later in itertools.pairwise(arrivals):
        minute = earlier.offset_ns // 60_000_000_000
        by_minute.setdefault(minute, []).append(later.offset_ns - earlier.offset_ns)
    return sorted(
        gap * len(gaps) / sum(gaps) for gaps in by_minute.values() if sum(gaps) for gap in gaps
    )


def _kolmogorov_smirnov(first: list[float], second: list[float]) -> float:
    """The largest distance between two empirical distributions; both in order of size."""
    i = j = 0
    widest = 0.0
    while i < len(first) and j < len(second):
        value = min(first[i], second[j])
        while i < len(first) and first[i] == value:
            i += 1
        while j < len(second) and second[j] == value:
            j += 1
        widest = max(widest, abs(i / len(first) - j / len(second)))
    return widest
