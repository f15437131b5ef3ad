"""Rates: buckets against an exact twin, and shares of one rate among Routers that lose answers."""

from fractions import Fraction
from random import Random

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.budget import rate_shares
from harmost.core.budget.rate import RateShare
from harmost.core.budget.rate_shares import SHARE_NS, RateGrant, RateShares
from harmost.core.errors import RateLimited

S_NS = 10**9
MINUTE_NS = 60 * S_NS


def bucket(per_minute: int, burst: int, level: int | None = None) -> RateShare:
    return RateShare(
        per_minute=per_minute, burst=burst, level=burst if level is None else level, now_ns=0
    )


def most_in_any_interval(used: list[tuple[int, int]], burst: int, per_minute: int) -> bool:
    """Whether what is used in each interval is within burst + rate * length; O(n^2), exact."""
    for first in range(len(used)):
        total = 0
        for last in range(first, len(used)):
            total += used[last][1]
            length = used[last][0] - used[first][0]
            if total > burst + Fraction(per_minute * length, MINUTE_NS):
                return False
    return True


class SlowBucket:
    """What rate.pyx should do, in fractions."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self.per_minute, self.burst = per_minute, burst
        self.level, self.updated_ns = Fraction(burst), 0

    def take(self, amount: int, now_ns: int) -> bool:
        if now_ns > self.updated_ns:
            earned = Fraction((now_ns - self.updated_ns) * self.per_minute, MINUTE_NS)
            self.level = min(Fraction(self.burst), self.level + earned)
            self.updated_ns = now_ns
        if self.level < amount:
            return False
        self.level -= amount
        return True


steps = st.lists(
    st.tuples(st.integers(-5 * S_NS, 70 * S_NS), st.integers(0, 120)), min_size=1, max_size=60
)


@given(st.integers(0, 1_000_003), st.integers(0, 200), steps)
@settings(max_examples=effort(200, ci=2_000, nightly=100_000), deadline=None)
def test_a_bucket_admits_what_its_twin_admits(
    per_minute: int, burst: int, taken: list[tuple[int, int]]
) -> None:
    fast, slow, now_ns = bucket(per_minute, burst), SlowBucket(per_minute, burst), 0
    for passed_ns, amount in taken:
        now_ns = max(0, now_ns + passed_ns)
        assert fast.take(amount, now_ns=now_ns) == slow.take(amount, now_ns)
        assert fast.level(now_ns) == int(slow.level)


@given(st.integers(1, 5_000), st.integers(1, 200), st.integers(0, 2**32))
@settings(max_examples=effort(60, ci=1_000, nightly=20_000), deadline=None)
def test_any_interval_uses_at_most_its_burst_and_its_rate(
    per_minute: int, burst: int, seed: int
) -> None:
    """What is given back was not used; it must not let others use more than if it never was taken."""
    random, share, now_ns = Random(seed), bucket(per_minute, burst), 0
    used: list[list[int]] = []
    open_still: list[tuple[int, int, list[int]]] = []
    for _ in range(80):
        now_ns += random.choice((0, 1, S_NS // 10, S_NS, 10 * S_NS, 90 * S_NS))
        if open_still and random.random() < 0.4:
            amount, taken_ns, row = open_still.pop(random.randrange(len(open_still)))
            unused = random.randint(0, amount)
            share.give_back(unused, taken_ns=taken_ns, now_ns=now_ns)
            row[1] -= unused
            continue
        amount = random.choice((1, burst // 2, burst, random.randint(0, burst)))
        if share.take(amount, now_ns=now_ns):
            row = [now_ns, amount]
            used.append(row)
            open_still.append((amount, now_ns, row))
    assert most_in_any_interval([(at, amount) for at, amount in used], burst, per_minute)


@given(st.integers(1, 10**18), st.integers(1, 10**18), st.integers(1, 10**18))
def test_after_the_wait_it_may_be_taken_and_not_before(
    per_minute: int, burst: int, amount: int
) -> None:
    share = bucket(per_minute, burst, level=0)
    wait_ns = share.wait_ns(amount, now_ns=0)
    if amount > burst:
        assert wait_ns == -1
    elif wait_ns < 2**62:
        assert not bucket(per_minute, burst, level=0).take(amount, now_ns=wait_ns - 1)
        assert share.take(amount, now_ns=wait_ns)


@pytest.mark.parametrize("amount", [-1, 10**18 + 1])
def test_amounts_that_cannot_be_are_refused(amount: int) -> None:
    share = bucket(60, 10)
    for refused in (
        lambda: bucket(amount, 1),
        lambda: bucket(1, amount),
        lambda: share.take(amount, now_ns=0),
        lambda: share.give_back(amount, taken_ns=0, now_ns=0),
        lambda: share.wait_ns(amount, now_ns=0),
        lambda: share.share_to(per_minute=amount, burst=1, now_ns=0),
    ):
        with pytest.raises(ValueError, match="amounts must be in"):
            refused()
    assert share.level(0) == 10


def test_a_clock_that_jumps_a_day_fills_the_bucket_once() -> None:
    share = bucket(60, 10, level=0)
    assert share.level(86_400 * S_NS) == 10
    share.take(10, now_ns=86_400 * S_NS)
    assert share.level(0) == 0
    assert share.level(86_400 * S_NS) == 0
    assert share.level(86_401 * S_NS) == 1


def test_what_a_huge_rate_filled_since_is_not_given_back() -> None:
    share = bucket(10**18, 10**18)
    share.take(10**18, now_ns=0)
    share.take(10**18, now_ns=60 * S_NS)
    share.give_back(10**18, taken_ns=0, now_ns=60 * S_NS)
    assert share.level(60 * S_NS) == 0
    for hours in (1, 10, 100, 1_000, 10_000, 300_000):
        late = bucket(10**18, 10**18, level=0)
        late.give_back(10**18, taken_ns=-hours * 3_600 * S_NS, now_ns=0)
        assert late.level(0) == 0, hours


def test_a_changed_share_adds_nothing_by_itself() -> None:
    share = bucket(60, 10, level=10)
    share.share_to(per_minute=600, burst=100, now_ns=0)
    assert share.level(0) == 10
    share.share_to(per_minute=6, burst=3, now_ns=0)
    assert share.level(0) == 3


def test_routers_get_equal_parts_and_what_others_do_not_want() -> None:
    shares = RateShares(per_minute=90, now_ns=0)
    assert shares.ask("a", 1_000, now_ns=0).per_minute == 90
    assert shares.ask("b", 10, now_ns=1).per_minute == 0  # until `a` asks again
    assert shares.ask("a", 1_000, now_ns=2).per_minute == 80
    assert shares.ask("b", 10, now_ns=SHARE_NS).per_minute == 10
    assert shares.ask("a", 1_000, now_ns=SHARE_NS + 1).per_minute == 80


def test_who_wants_more_than_its_part_keeps_it_from_nobody_for_long() -> None:
    shares = RateShares(per_minute=100, now_ns=0)
    now_ns = 0
    got: dict[str, int] = {}
    for second in range(80):
        now_ns = second * S_NS
        for router in ("a", "b") if second > 5 else ("a",):
            got[router] = shares.ask(router, 1_000, now_ns=now_ns).per_minute
    assert got == {"a": 50, "b": 50}


def test_a_ledger_that_begins_gives_no_burst_and_one_that_rested_does() -> None:
    shares = RateShares(per_minute=60, now_ns=0)
    assert shares.ask("a", 60, now_ns=1).level == 0
    assert shares.ask("a", 60, now_ns=5 * MINUTE_NS).level == 60


def test_routers_that_share_a_rate_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_shares, "ROUTERS_MAX", 2)
    shares = RateShares(per_minute=90, now_ns=0)
    for router in "aab":
        shares.ask(router, 30, now_ns=0)
    with pytest.raises(RateLimited):
        shares.ask("c", 30, now_ns=0)


@pytest.mark.parametrize("seed", range(effort(20, ci=200, nightly=5_000)))
def test_all_routers_together_keep_the_rate_whatever_answers_are_lost(seed: int) -> None:
    random, now_ns = Random(seed), 0
    whole = random.choice((7, 60, 1_000))
    shares = RateShares(per_minute=whole, now_ns=0)
    routers: dict[str, tuple[RateShare, RateGrant]] = {}
    used: list[tuple[int, int]] = []
    for _ in range(250):
        now_ns += random.choice((0, S_NS // 3, S_NS, 5 * S_NS, 40 * S_NS, 100 * S_NS))
        name = random.choice("abcd")
        known = routers.get(name)
        if known is not None and now_ns >= known[1].until_ns:
            del routers[name]  # a share that is over is not spent
            known = None
        if random.random() < 0.5:
            grant = shares.ask(
                name, random.choice((0, whole // 3, whole, 5 * whole)), now_ns=now_ns
            )
            if random.random() < 0.3:
                continue  # the answer is lost
            if known is None:
                routers[name] = (grant.begin(now_ns), grant)
            else:
                known[0].share_to(per_minute=grant.per_minute, burst=grant.burst, now_ns=now_ns)
                routers[name] = (known[0], grant)
        elif known is not None:
            amount = random.randint(1, max(1, whole // 2))
            if known[0].take(amount, now_ns=now_ns):
                used.append((now_ns, amount))
    assert most_in_any_interval(used, whole, whole)
