"""Arrivals to calls: when, on which profile, with which prompt. Decides only; no clock, no I/O."""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harmost.core.errors import InvalidInput
from harmost.core.trace.arrival import Arrival

__all__ = ["DEFAULT_MIX", "Planned", "Weighted", "mix_of", "plan", "prompt"]

# The profiles of examples/replay.yaml and how much of the traffic is theirs.
DEFAULT_MIX = ("replay-support:5", "replay-search:3", "replay-finance:2")
# Short plain words: nothing that a privacy scanner could take for data about a person.
FILLER = "the quick brown fox jumps over the lazy dog and then it rests a while in the shade "
SEED = 1


@dataclass(frozen=True, slots=True)
class Weighted:
    """A profile and its share of the calls that name none."""

    profile: str
    weight: int


@dataclass(frozen=True, slots=True)
class Planned:
    """One call. `due_ns` counts from the start of the replay; tenant "" is the profile's own."""

    due_ns: int
    profile: str
    tenant: str
    input_tokens: int
    output_tokens: int


def mix_of(texts: Sequence[str]) -> list[Weighted]:
    """Profiles and weights in "name" or "name:weight"; raises `InvalidInput`."""
    found: list[Weighted] = []
    for text in texts:
        profile, colon, weight = text.rpartition(":")
        if not colon:
            profile, weight = text, "1"
        if not profile or not weight.isdigit() or not 1 <= int(weight) <= 1_000_000:
            raise InvalidInput(f"`{text}` is not PROFILE or PROFILE:WEIGHT with a weight from 1")
        found.append(Weighted(profile, int(weight)))
    return found


def plan(
    arrivals: Sequence[Arrival], *, speed: float, mix: Sequence[Weighted]
) -> Iterator[Planned]:
    """The calls in order of time, time compressed by `speed`; the same for the same arguments."""
    dice = random.Random(SEED)
    weights = list(accumulate(part.weight for part in mix))
    for arrival in arrivals:
        drawn = mix[bisect_right(weights, dice.randrange(weights[-1]))].profile
        yield Planned(
            round(arrival.offset_ns / speed),
            arrival.profile or drawn,
            arrival.tenant,
            arrival.input_tokens,
            arrival.output_tokens,
        )


def prompt(call: Planned, *, chunk_tokens: int) -> str:
    """Text that the sandbox counts as `input_tokens` (4 bytes each) and answers as the trace says.

    Never shorter than the directive itself: a trace's shortest prompts become a little longer.
    """
    directive = (
        f"[[sandbox output_tokens={call.output_tokens} chunk_tokens={chunk_tokens} "
        "ttft_ms=0 token_ms=0]]"
    )
    missing = 4 * call.input_tokens - len(directive)
    if missing <= 0:
        return directive
    return (FILLER * (missing // len(FILLER) + 1))[:missing] + directive
