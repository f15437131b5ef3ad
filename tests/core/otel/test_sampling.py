"""Which calls become spans."""

import random

import pytest

from harmost.core.errors import InvalidInput
from harmost.core.otel.context import Parent
from harmost.core.otel.sampling import SAMPLERS, Sampler, sampler_of

TRACE = bytes(15) + b"\x01"
FAST_NS, SLOW_NS = 1_000_000, 20_000_000_000


def keeps(sampler: Sampler, *, sampled: bool | None = None, trace_id: bytes = TRACE) -> bool:
    parent = None if sampled is None else Parent(trace_id, b"12345678", sampled)
    return sampler.keeps(remarkable=False, total_ns=FAST_NS, trace_id=trace_id, parent=parent)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_remarkable_or_slow_is_always_kept(name: str) -> None:
    sampler = sampler_of(name, "0")
    unsampled = Parent(TRACE, b"12345678", False)
    for remarkable, total_ns in ((True, FAST_NS), (False, SLOW_NS)):
        assert sampler.keeps(
            remarkable=remarkable, total_ns=total_ns, trace_id=TRACE, parent=unsampled
        )


def test_a_parent_decides_where_it_may() -> None:
    for name in SAMPLERS:
        sampler = sampler_of(name, "0")
        by_parent = keeps(sampler, sampled=True) and not keeps(sampler, sampled=False)
        assert by_parent == name.startswith("parentbased_")


def test_without_a_parent_all_none_or_a_ratio_is_kept() -> None:
    assert keeps(sampler_of("parentbased_always_on", ""))
    assert not keeps(sampler_of("always_off", ""))
    chance = random.Random(1)
    traces = [chance.randbytes(16) for _ in range(4_000)]
    kept = sum(keeps(sampler_of("traceidratio", "0.25"), trace_id=each) for each in traces)
    assert 850 < kept < 1_150


def test_a_ratio_that_is_smaller_keeps_none_that_a_larger_does_not() -> None:
    chance = random.Random(2)
    small, large = sampler_of("traceidratio", "0.1"), sampler_of("traceidratio", "0.5")
    for _ in range(1_000):
        trace_id = chance.randbytes(16)
        assert keeps(large, trace_id=trace_id) or not keeps(small, trace_id=trace_id)


@pytest.mark.parametrize("argument", ["-0.1", "1.1", "nan", "half", "inf"])
def test_a_ratio_that_is_none_is_refused(argument: str) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        sampler_of("traceidratio", argument)


def test_a_sampler_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="parentbased_always_on"):
        sampler_of("jaeger_remote", "")
