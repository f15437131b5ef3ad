"""Makes a trace that is like an hour of real chat traffic, from a seed alone.

Fitted to the conversation trace of the Azure LLM inference dataset (Splitwise, ISCA 2024; 19,366
requests in 3,502 s; CC-BY-4.0):

* *When.* Arrivals there are Poisson within a second (gap cv 1.02 within a minute), with a rate that
  swings: by 0.22 from minute to minute, slowly (correlation 0.78 between neighbours), and by a
  little more within seconds. So: a Poisson stream whose log rate is the sum of two
  Ornstein-Uhlenbeck processes, TIDE and RIPPLE, conditioned on the number of requests. TIDE's own
  deviation is the larger 0.25: one hour sees only a part of so slow a swing.
* *How long.* Prompt lengths cluster (around 200, 400, 1,050 and 4,090 tokens) and no textbook law
  fits, so they are drawn from the empirical quantiles, with straight lines between. An answer's
  length depends on its prompt's: five bands of prompts have each their own quantiles.

tests/core/trace/test_fit.py compares what comes out with the real trace.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec

from harmost.core.errors import InvalidInput
from harmost.core.trace.arrival import ARRIVALS_MAX, NS_PER_S, Arrival

__all__ = ["DURATION_S_MAX", "Share", "generate"]

DURATION_S_MAX = 7 * 86_400  # one rate a second is held in memory


class Share(msgspec.Struct, frozen=True):
    """A part of the requests: whose they are and which profile they name. `weight` >= 1."""

    tenant: str
    profile: str
    weight: int = 1


class Swing(msgspec.Struct, frozen=True):
    """An Ornstein-Uhlenbeck process in the log of the rate: deviation, seconds to forget."""

    deviation: float
    memory_s: float


TIDE = Swing(0.25, 240.0)
RIPPLE = Swing(0.17, 2.0)

# (probability, tokens), rising in both.
Quantiles = tuple[tuple[float, int], ...]


def _even(step: float, values: Sequence[int], *tail: tuple[float, int]) -> Quantiles:
    return tuple((round(i * step, 6), value) for i, value in enumerate(values)) + tail


# fmt: off
INPUT = _even(
    0.025,
    (2, 120, 181, 200, 207, 235, 372, 379, 387, 393, 396, 400, 403, 407, 414, 428, 703, 922, 984,
     1005, 1020, 1034, 1045, 1058, 1071, 1083, 1097, 1112, 1130, 1153, 1189, 1277, 1315, 1434, 1876,
     2309, 2734, 4075, 4083, 4092),
    (0.99, 4142), (0.995, 4831), (0.999, 6212), (1.0, 14050),
)
# For prompts below each share of INPUT: the quantiles of the answers.
OUTPUT_BELOW: tuple[tuple[float, Quantiles], ...] = (
    (0.25, _even(0.05, (7, 18, 49, 59, 66, 73, 78, 84, 88, 93, 98, 105, 116, 130, 146, 162, 168, 181,
                        204, 217), (0.99, 255), (1.0, 1000))),
    (0.4, _even(0.05, (25, 77, 82, 85, 87, 89, 91, 93, 95, 97, 99, 101, 103, 106, 109, 113, 120, 128,
                       138, 151), (0.99, 191), (1.0, 739))),
    (0.6, _even(0.05, (10, 76, 95, 129, 375, 385, 390, 394, 396, 397, 399, 403, 409, 413, 415, 421,
                       429, 438, 461, 532), (0.99, 638), (1.0, 1000))),
    (0.8, _even(0.05, (26, 79, 139, 202, 375, 382, 388, 394, 396, 397, 401, 405, 411, 414, 418, 426,
                       429, 444, 479, 551), (0.99, 654), (1.0, 1000))),
    (1.0, _even(0.05, (15, 34, 39, 44, 48, 51, 56, 61, 67, 72, 78, 84, 92, 99, 108, 119, 133, 147,
                       168, 203), (0.99, 407), (1.0, 918))),
)
# fmt: on


def generate(
    *, requests: int, duration_s: int, seed: int, shares: Sequence[Share] = ()
) -> Iterator[Arrival]:
    """`requests` arrivals in order of time within `duration_s` seconds; the same for the same seed.

    With `shares`, each request is given a tenant and a profile by weight. O(requests + duration_s).
    """
    if not 1 <= requests <= ARRIVALS_MAX:
        raise InvalidInput(f"requests must be from 1 to {ARRIVALS_MAX}: `{requests}`")
    if not 1 <= duration_s <= DURATION_S_MAX:
        raise InvalidInput(f"duration must be from 1 s to {DURATION_S_MAX} s: `{duration_s}`")
    dice = random.Random(seed)
    weights = list(accumulate(share.weight for share in shares))
    for offset_ns in _offsets(requests, duration_s, dice):
        input_tokens, output_tokens = _lengths(dice)
        if not shares:
            yield Arrival(offset_ns, input_tokens, output_tokens)
            continue
        share = shares[bisect_right(weights, dice.randrange(weights[-1]))]
        yield Arrival(offset_ns, input_tokens, output_tokens, share.tenant, share.profile)


def _offsets(requests: int, duration_s: int, dice: random.Random) -> Iterator[int]:
    # A Poisson stream of a given total is a sorted sample of its cumulative rate.
    reached = [0.0, *accumulate(_rates(duration_s, dice))]
    for point in sorted(dice.random() * reached[-1] for _ in range(requests)):
        second = min(bisect_right(reached, point), duration_s) - 1
        share = (point - reached[second]) / (reached[second + 1] - reached[second])
        yield min(int((second + share) * NS_PER_S), duration_s * NS_PER_S - 1)


def _rates(duration_s: int, dice: random.Random) -> Iterator[float]:
    """The rate of each second, up to a factor."""
    swings = (TIDE, RIPPLE)
    values = [dice.gauss(0.0, swing.deviation) for swing in swings]
    for _ in range(duration_s):
        yield math.exp(sum(values))
        for i, swing in enumerate(swings):
            kept = math.exp(-1.0 / swing.memory_s)
            noise = swing.deviation * math.sqrt(1.0 - kept * kept)
            values[i] = kept * values[i] + dice.gauss(0.0, noise)


def _lengths(dice: random.Random) -> tuple[int, int]:
    share = dice.random()
    outputs = next(quantiles for below, quantiles in OUTPUT_BELOW if share < below)
    return _at(INPUT, share), _at(outputs, dice.random())


def _at(quantiles: Quantiles, probability: float) -> int:
    upper = bisect_right(quantiles, probability, key=lambda knot: knot[0])
    (p0, low), (p1, high) = quantiles[upper - 1], quantiles[min(upper, len(quantiles) - 1)]
    return low if p1 <= p0 else round(low + (high - low) * (probability - p0) / (p1 - p0))
