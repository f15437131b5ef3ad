"""What makes two traces alike: how bursty arrivals are, how long requests and answers are.

Rates are compared by their coefficient of variation (deviation over mean) over windows of several
widths: a Poisson stream and one with slow tides differ in the wide windows, one with bursts in the
narrow ones.
"""

import itertools
from collections.abc import Sequence
from statistics import fmean, pstdev

import msgspec

from harmost.core.trace.arrival import NS_PER_S, Arrival

__all__ = ["PROBABILITIES", "Shape", "shape_of"]

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Measures of one trace. Quantiles are at `PROBABILITIES`; a `cv` is deviation over mean."""

    requests: int
    duration_s: float
    gap_cv: float
    second_cv: float
    ten_seconds_cv: float
    minute_cv: float
    input_mean: float
    output_mean: float
    input_quantiles: tuple[int, ...]
    output_quantiles: tuple[int, ...]


def shape_of(arrivals: Sequence[Arrival]) -> Shape:
    """The shape of `arrivals`, which are in order of time and at least two. O(n log n)."""
    if len(arrivals) < 2:
        raise ValueError(f"a shape needs at least two arrivals: there are {len(arrivals)}")
    offsets = [arrival.offset_ns for arrival in arrivals]
    inputs = sorted(arrival.input_tokens for arrival in arrivals)
    outputs = sorted(arrival.output_tokens for arrival in arrivals)
    return Shape(
        requests=len(arrivals),
        duration_s=(offsets[-1] - offsets[0]) / NS_PER_S,
        gap_cv=_cv([later - earlier for earlier, later in itertools.pairwise(offsets)]),
        second_cv=_cv(_counts(offsets, NS_PER_S)),
        ten_seconds_cv=_cv(_counts(offsets, 10 * NS_PER_S)),
        minute_cv=_cv(_counts(offsets, 60 * NS_PER_S)),
        input_mean=fmean(inputs),
        output_mean=fmean(outputs),
        input_quantiles=_quantiles(inputs),
        output_quantiles=_quantiles(outputs),
    )


def _cv(values: Sequence[int]) -> float:
    mean = fmean(values) if values else 0.0
    return pstdev(values) / mean if mean else 0.0


def _counts(offsets: Sequence[int], width_ns: int) -> list[int]:
    # Whole windows only: a part of one would look like a lull.
    counts = [0] * ((offsets[-1] - offsets[0]) // width_ns)
    for offset in offsets:
        window = (offset - offsets[0]) // width_ns
        if window < len(counts):
            counts[window] += 1
    return counts


def _quantiles(ordered: Sequence[int]) -> tuple[int, ...]:
    return tuple(ordered[round(p * (len(ordered) - 1))] for p in PROBABILITIES)
