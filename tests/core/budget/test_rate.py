"""Buckets of so much a minute: against an exact twin, and by what any interval used in the end."""

from fractions import Fraction
from random import Random

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from rate_world import MINUTE_NS, S_NS, Use, keeps_the_rate

from harmost.core.budget.rate import RateShare


def bucket(per_minute: int, burst: int, level: int | None = None) -> RateShare:
    return RateShare(
        per_minute=per_minute, burst=burst, level=burst if level is None else level, now_ns=0
    )


class SlowBucket:
    """What rate.pyx should do, in fractions, for who gives nothing back."""

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
    for number, (passed_ns, amount) in enumerate(taken):
        now_ns = max(0, now_ns + passed_ns)
        assert fast.take(number, amount, now_ns=now_ns) == slow.take(amount, now_ns)
        assert fast.level(now_ns) == int(slow.level)


@given(st.integers(1, 5_000), st.integers(1, 200), st.integers(0, 2**32))
@settings(max_examples=effort(60, ci=1_000, nightly=20_000), deadline=None)
def test_any_interval_uses_at_most_its_burst_and_its_rate(
    per_minute: int, burst: int, seed: int
) -> None:
    """What is given back was not used; it must not let others use more than if it never was taken."""
    random, share, now_ns = Random(seed), bucket(per_minute, burst), 0
    used: list[Use] = []
    open_still: list[Use] = []
    for _ in range(80):
        now_ns += random.choice((0, 1, S_NS // 10, S_NS, 10 * S_NS, 90 * S_NS))
        what = random.random()
        if open_still and what < 0.4:
            use = open_still.pop(random.randrange(len(open_still)))
            taken, use.amount = use.amount, random.randint(0, use.amount)
            share.close(id(use), held=taken, used=use.amount)
            continue
        amount = random.choice((1, burst // 2, burst, random.randint(0, burst)))
        if open_still and what < 0.5:  # a hold that grows, and ends: all of it is used
            use = Use(now_ns, amount)
            if share.take(id(open_still[0]), amount, now_ns=now_ns):
                whole = open_still[0].amount + amount
                share.close(id(open_still.pop(0)), held=whole, used=whole)
                used.append(use)
            continue
        use = Use(now_ns, amount)
        if share.take(id(use), amount, now_ns=now_ns):
            used.append(use)
            open_still.append(use)
        assert share.level(now_ns) + share.credit <= burst
    assert keeps_the_rate(used, per_minute, burst=burst)


def test_what_is_not_used_comes_back_while_the_bucket_has_room_for_it() -> None:
    share = bucket(60, 60)
    assert share.take("a", 60, now_ns=0)
    share.close("a", held=60, used=5)
    assert share.level(0) == 55


def test_what_a_bucket_filled_up_with_meanwhile_does_not_come_back_as_well() -> None:
    share = bucket(60, 60)
    assert share.take("a", 60, now_ns=0)
    assert (share.level(20 * S_NS), share.credit) == (20, 40)
    share.close("a", held=60, used=5)
    assert share.level(20 * S_NS) == 55  # as if five had been taken: 55, and full since


def test_the_oldest_credit_is_burnt_first() -> None:
    share = bucket(60, 60)
    assert share.take("old", 30, now_ns=0)
    assert share.take("new", 30, now_ns=0)
    share.level(20 * S_NS)
    share.close("new", held=30, used=0)
    assert share.level(20 * S_NS) == 50
    share.close("old", held=30, used=0)
    assert share.level(20 * S_NS) == 60


def test_a_part_of_a_unit_counts_before_anything_is_given_back() -> None:
    share = bucket(60, 100)
    assert share.take("a", 100, now_ns=0)
    share.level(99_900_000_000)  # 99.9: the last unit of credit is burnt before it is whole
    share.close("a", held=100, used=0)
    assert share.take("b", 99, now_ns=99_900_000_000)
    assert not share.take("c", 1, now_ns=99_900_000_001)


def test_what_was_used_beyond_the_hold_is_taken_afterwards() -> None:
    share = bucket(60, 60)
    assert share.take("a", 50, now_ns=0)
    share.close("a", held=50, used=90)
    assert share.level(0) == -30
    assert not share.take("b", 1, now_ns=30 * S_NS)
    assert share.take("b", 1, now_ns=31 * S_NS)
    assert share.take("nothing", 0, now_ns=0)


def test_debt_has_a_bound() -> None:
    share = bucket(60, 60)
    for _ in range(20):
        share.close("x", held=0, used=10**18)
    assert share.level(0) == -(10**18)


def test_an_emptied_bucket_still_owes() -> None:
    share = bucket(60, 60)
    share.take("a", 10, now_ns=0)
    share.empty(0)
    assert (share.level(0), share.credit) == (0, 0)
    share.close("b", held=0, used=5)
    share.empty(0)
    assert share.level(0) == -5


def test_what_is_paid_fits_or_is_lost() -> None:
    share = bucket(0, 10, level=2)
    share.pay(5, now_ns=0)
    assert share.level(0) == 7
    share.pay(5, now_ns=0)
    assert share.level(0) == 10
    share.pay_out(4, now_ns=0)
    assert share.level(0) == 6
    with pytest.raises(ValueError, match="6 is there: 7 cannot be given"):
        share.pay_out(7, now_ns=0)


@given(st.integers(1, 10**18), st.integers(1, 10**18), st.integers(1, 10**18))
def test_after_the_wait_it_may_be_taken_and_not_before(
    per_minute: int, burst: int, amount: int
) -> None:
    share = bucket(per_minute, burst, level=0)
    wait_ns = share.wait_ns(amount, now_ns=0)
    if amount > burst:
        assert wait_ns == -1
    elif wait_ns < 2**62:
        assert not bucket(per_minute, burst, level=0).take("a", amount, now_ns=wait_ns - 1)
        assert share.take("a", amount, now_ns=wait_ns)


@pytest.mark.parametrize("amount", [-1, 10**18 + 1])
def test_amounts_that_cannot_be_are_refused(amount: int) -> None:
    share = bucket(60, 10)
    for refused in (
        lambda: bucket(amount, 1),
        lambda: bucket(1, amount),
        lambda: share.take("a", amount, now_ns=0),
        lambda: share.close("a", held=amount, used=0),
        lambda: share.close("a", held=0, used=amount),
        lambda: share.pay(amount, now_ns=0),
        lambda: share.pay_out(amount, now_ns=0),
        lambda: share.wait_ns(amount, now_ns=0),
        lambda: share.share_to(per_minute=amount, burst=1, now_ns=0),
    ):
        with pytest.raises(ValueError, match="amounts must be in"):
            refused()
    assert share.level(0) == 10


def test_a_clock_that_jumps_a_day_fills_the_bucket_once() -> None:
    share = bucket(60, 10, level=0)
    assert share.level(86_400 * S_NS) == 10
    share.take("a", 10, now_ns=86_400 * S_NS)
    assert share.level(0) == 0
    assert share.level(86_400 * S_NS) == 0
    assert share.level(86_401 * S_NS) == 1


def test_a_huge_rate_fills_after_any_time() -> None:
    for hours in (1, 10, 100, 1_000, 10_000, 300_000):
        share = bucket(10**18, 10**18, level=0)
        share.take("a", 0, now_ns=0)
        assert share.level(hours * 3_600 * S_NS) == 10**18, hours


def test_a_changed_share_adds_nothing_by_itself() -> None:
    share = bucket(60, 10, level=10)
    share.share_to(per_minute=600, burst=100, now_ns=0)
    assert share.level(0) == 10
    share.share_to(per_minute=6, burst=3, now_ns=0)
    assert share.level(0) == 3


def test_a_share_that_changes_often_loses_no_part_of_a_unit() -> None:
    share = bucket(1, 2, level=0)
    for second in range(1, 121):
        share.share_to(per_minute=1, burst=2 + second % 2, now_ns=second * S_NS)
    assert share.level(120 * S_NS) == 2
