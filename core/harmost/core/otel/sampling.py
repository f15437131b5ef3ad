"""Which calls become spans: decided at their end, when it is known what came of them.

What an operator looks for is always kept: errors, denials, hops to another model, slow calls. Of the
rest a ratio is kept, by trace id, so that every service of a trace decides alike.
"""

import math
from typing import NamedTuple

from harmost.core.errors import InvalidInput
from harmost.core.otel.context import Parent

__all__ = ["SAMPLERS", "Sampler", "sampler_of"]

NS_PER_S = 1_000_000_000
SLOW_S = 10.0

SAMPLERS = (
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "always_on",
    "always_off",
    "traceidratio",
)


class Sampler(NamedTuple):
    """`ratio_bound` of 2^64 trace ids are kept; with `parent_decides`, as a caller's trace is."""

    parent_decides: bool
    ratio_bound: int
    slow_ns: int

    def keeps(
        self, *, remarkable: bool, total_ns: int, trace_id: bytes, parent: Parent | None
    ) -> bool:
        """Whether a call is told; `remarkable`: it did not complete, or not with its first model."""
        if remarkable or total_ns >= self.slow_ns:
            return True
        if self.parent_decides and parent is not None:
            return parent.sampled
        # The last 8 bytes, as the SDKs' TraceIdRatioBased does: the first may be a clock.
        return int.from_bytes(trace_id[8:]) < self.ratio_bound


def sampler_of(name: str, argument: str, *, slow_s: float = SLOW_S) -> Sampler:
    """What OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG mean. Raises InvalidInput."""
    if name not in SAMPLERS:
        raise InvalidInput(f"sampler `{name}` is not known: use one of {', '.join(SAMPLERS)}")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(name.removeprefix("parentbased_"))
    if ratio is None:
        try:
            ratio = float(argument or 1.0)
        except ValueError:
            ratio = math.nan
        if not 0 <= ratio <= 1:
            raise InvalidInput(f"sampler ratio `{argument}` is not from 0 to 1: correct it")
    if not slow_s > 0:
        raise InvalidInput(
            f"`{slow_s}` s is no time from which on a call is slow: give more than 0"
        )
    slow_ns = 2**63 if math.isinf(slow_s) else round(slow_s * NS_PER_S)
    return Sampler(name.startswith("parentbased_"), round(ratio * 2**64), slow_ns)
