"""A histogram of durations with fixed, exponential buckets: adding is O(1), merging is adding up.

Four buckets an octave: a percentile read from it is at most 19 % above the true one.
"""

import math
from collections.abc import Sequence

__all__ = ["BUCKETS", "Histogram", "difference", "percentile_ns"]

# From 1 us to 2**32 us, more than an hour: longer than any call lives.
BUCKETS = 128
PER_OCTAVE = 4
NS_PER_US = 1_000


class Histogram:
    """Counts durations; `counts[i]` has those of [2^(i/4), 2^((i+1)/4)) microseconds."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS

    def add(self, duration_ns: int) -> None:
        """Count one duration; what lies beyond the ends counts in the first or last bucket."""
        micros = duration_ns / NS_PER_US
        index = int(math.log2(micros) * PER_OCTAVE) if micros > 1 else 0
        self.counts[min(index, BUCKETS - 1)] += 1


def difference(later: Sequence[int], earlier: Sequence[int]) -> list[int]:
    """What was counted between two readings of one histogram."""
    return [after - before for after, before in zip(later, earlier, strict=True)]


def percentile_ns(counts: Sequence[int], permille: int) -> int:
    """The upper end of the bucket that holds the percentile (1..1000), in ns; 0 when all are empty."""
    rank = math.ceil(sum(counts) * permille / 1000)
    if not rank:
        return 0
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return round(2 ** ((index + 1) / PER_OCTAVE) * NS_PER_US)
    raise AssertionError("the rank is at most the sum")
