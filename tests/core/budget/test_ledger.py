"""Counters and holds, against a slow twin in plain Python."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harmost.core.budget.ledger import COUNTERS_MAX, Counter, Hold, reserve, restore, spin

USD, TOKENS, REQUESTS = 1, 2, 3


def counter(unit: int = USD, limit: int = 100, *, hard: bool = True, **kept: int) -> Counter:
    return Counter(1, unit=unit, limit=limit, hard=hard, **kept)


def hold_of(
    *counters: Counter, usd: int = 0, tokens: int = 0, least: tuple[int, int] | None = None
) -> Hold | Counter:
    least_usd, least_tokens = least if least is not None else (usd, tokens)
    return reserve(
        counters,
        usd_nanos=usd,
        tokens=tokens,
        minimum_usd_nanos=least_usd,
        minimum_tokens=least_tokens,
    )


def held(*counters: Counter, usd: int = 0, tokens: int = 0) -> Hold:
    hold = hold_of(*counters, usd=usd, tokens=tokens)
    assert isinstance(hold, Hold)
    return hold


@dataclass
class SlowCounter:
    unit: int
    limit: int
    hard: bool
    settled: int = 0
    holds: list[int] = field(default_factory=list)
    debt: int = 0

    def room(self) -> int:
        return self.limit + self.debt - self.settled - sum(self.holds)


@dataclass
class SlowHold:
    counters: list[int]
    amounts: dict[int, int]


class SlowLedger:
    """What ledger.pyx should do, said without arithmetic tricks."""

    def __init__(self, counters: list[SlowCounter]) -> None:
        self.counters = counters

    def reserve(
        self, path: list[int], wanted: dict[int, int], least: dict[int, int]
    ) -> SlowHold | None:
        fits = dict(wanted)
        for index in path:
            slow = self.counters[index]
            if slow.hard and wanted[slow.unit]:
                fits[slow.unit] = min(fits[slow.unit], slow.room())
        if any(fits[unit] < least[unit] for unit in fits):
            return None
        for index in path:
            self.counters[index].holds.append(fits[self.counters[index].unit])
        return SlowHold(path, fits)

    def close(self, hold: SlowHold, used: dict[int, int]) -> None:
        for index in hold.counters:
            slow = self.counters[index]
            slow.holds.remove(hold.amounts[slow.unit])
            slow.settled += used[slow.unit]
            slow.debt += max(0, used[slow.unit] - hold.amounts[slow.unit])


amounts = st.integers(0, 60)


class LedgerMachine(RuleBasedStateMachine):
    """Random reservations over a tree of two children and their parent, in three units."""

    @initialize(
        shape=st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=9, max_size=9)
    )
    def start(self, shape: list[tuple[int, bool]]) -> None:
        # Per unit: parent, left child, right child.
        self.slow = SlowLedger(
            [SlowCounter(1 + i // 3, limit, hard) for i, (limit, hard) in enumerate(shape)]
        )
        self.fast = [
            Counter(i, unit=1 + i // 3, limit=limit, hard=hard)
            for i, (limit, hard) in enumerate(shape)
        ]
        self.open: list[tuple[Hold, SlowHold]] = []
        self.adjusted = self.lowered = False

    @rule(right=st.booleans(), usd=amounts, tokens=amounts, share=st.integers(0, 4))
    def reserve(self, right: bool, usd: int, tokens: int, share: int) -> None:
        path = [0, 3, 6, *(child + right for child in (1, 4, 7))]
        least = (usd * share // 4, tokens * share // 4)
        slow = self.slow.reserve(
            path,
            {USD: usd, TOKENS: tokens, REQUESTS: 1},
            {USD: least[0], TOKENS: least[1], REQUESTS: 1},
        )
        fast = hold_of(*(self.fast[i] for i in path), usd=usd, tokens=tokens, least=least)
        assert isinstance(fast, Hold) == (slow is not None)
        if isinstance(fast, Hold) and slow is not None:
            assert (fast.usd_nanos, fast.tokens) == (slow.amounts[USD], slow.amounts[TOKENS])
            self.open.append((fast, slow))
        else:
            assert fast in [self.fast[i] for i in path]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), usd=amounts, tokens=amounts)
    def settle(self, data: st.DataObject, usd: int, tokens: int) -> None:
        fast, slow = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        fast.settle(usd_nanos=usd, tokens=tokens)
        self.slow.close(slow, {USD: usd, TOKENS: tokens, REQUESTS: 1})
        self.refuses_to_close_again(fast)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        fast, slow = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        fast.void()
        self.slow.close(slow, {USD: 0, TOKENS: 0, REQUESTS: 0})
        self.refuses_to_close_again(fast)

    @rule(index=st.integers(0, 8), limit=st.integers(0, 200), hard=st.booleans())
    def change_limit(self, index: int, limit: int, hard: bool) -> None:
        self.lowered = True
        self.fast[index].limit_to(limit, hard=hard)
        self.slow.counters[index].limit, self.slow.counters[index].hard = limit, hard

    @rule(index=st.integers(0, 8), delta=st.integers(-50, 50))
    def adjust(self, index: int, delta: int) -> None:
        slow = self.slow.counters[index]
        if slow.settled + delta < 0:
            with pytest.raises(ValueError, match="cannot be added"):
                self.fast[index].adjust(delta)
            return
        repaid = min(slow.debt, -delta) if delta < 0 else 0
        assert self.fast[index].adjust(delta) == -repaid
        slow.settled += delta
        slow.debt -= repaid
        self.adjusted = True

    @rule()
    def restart(self) -> None:
        """Rebuild everything from balances and open holds, as after a crash."""
        self.fast = [
            Counter(
                old.id,
                unit=old.unit,
                limit=old.limit,
                hard=old.hard,
                settled=old.settled,
                held=old.held,
                debt=old.debt,
            )
            for old in self.fast
        ]
        self.open = [
            (
                restore(
                    tuple(self.fast[i] for i in slow.counters),
                    usd_nanos=fast.usd_nanos,
                    tokens=fast.tokens,
                ),
                slow,
            )
            for fast, slow in self.open
        ]

    def refuses_to_close_again(self, hold: Hold) -> None:
        assert not hold.open
        with pytest.raises(ValueError, match="closed already"):
            hold.settle(usd_nanos=1, tokens=1)
        with pytest.raises(ValueError, match="closed already"):
            hold.void()

    @invariant()
    def equals_its_twin(self) -> None:
        for fast, slow in zip(self.fast, self.slow.counters, strict=True):
            assert (fast.settled, fast.held, fast.debt) == (
                slow.settled,
                sum(slow.holds),
                slow.debt,
            )
            assert fast.available == slow.room()

    @invariant()
    def a_hard_counter_keeps_its_limit(self) -> None:
        if not self.lowered and not self.adjusted:
            for fast in self.fast:
                assert not fast.hard or fast.settled + fast.held <= fast.limit + fast.debt

    @invariant()
    def a_parent_is_the_sum_of_its_children(self) -> None:
        if not self.adjusted:
            for parent in (0, 3, 6):
                above, left, right = self.fast[parent : parent + 3]
                assert above.settled == left.settled + right.settled
                assert above.held == left.held + right.held

    @invariant()
    def held_is_the_sum_of_the_open_holds(self) -> None:
        assert self.fast[0].held == sum(fast.usd_nanos for fast, _ in self.open)
        assert self.fast[6].held == len(self.open)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_a_hold_is_taken_everywhere_or_nowhere() -> None:
    wide, narrow = counter(limit=100), counter(limit=9)
    assert hold_of(wide, narrow, usd=10) is narrow
    assert (wide.held, narrow.held) == (0, 0)


def test_the_last_of_a_limit_can_be_held_and_no_more() -> None:
    last = counter(limit=100, settled=90)
    held(last, usd=10)
    assert hold_of(last, usd=1) is last


def test_less_is_held_down_to_the_minimum() -> None:
    tight = counter(limit=7)
    hold = hold_of(tight, usd=10, least=(7, 0))
    assert isinstance(hold, Hold)
    assert (hold.usd_nanos, tight.available) == (7, 0)
    assert hold_of(counter(limit=6), usd=10, least=(7, 0)) is not None


def test_of_two_that_lack_the_tighter_denies() -> None:
    loose, tight = counter(limit=9), counter(limit=8)
    assert hold_of(loose, tight, usd=10) is tight


def test_a_soft_counter_admits_above_its_limit() -> None:
    soft = counter(limit=1, hard=False)
    held(soft, usd=10)
    assert soft.available == -9


def test_each_attempt_is_one_request() -> None:
    requests = counter(REQUESTS, limit=2)
    first = held(requests)
    held(requests)
    assert hold_of(requests) is requests
    first.void()
    held(requests).settle(usd_nanos=0, tokens=0)
    assert (requests.settled, requests.held) == (1, 1)


def test_what_is_settled_above_the_hold_is_debt() -> None:
    money = counter(limit=100)
    held(money, usd=10).settle(usd_nanos=25, tokens=0)
    assert (money.settled, money.held, money.debt, money.available) == (25, 0, 15, 90)


def test_giving_back_repays_debt_first() -> None:
    money = counter(limit=100, settled=25, debt=15)
    assert money.adjust(-20) == -15
    assert (money.settled, money.debt, money.available) == (5, 0, 95)


def test_a_lowered_limit_admits_nothing_more_and_keeps_what_is_held() -> None:
    money = counter(limit=100)
    hold = held(money, usd=50)
    money.limit_to(10, hard=True)
    assert money.available == -40
    assert hold_of(money, usd=1) is money
    hold.settle(usd_nanos=50, tokens=0)
    assert (money.settled, money.debt) == (50, 0)


def test_what_costs_nothing_fits_below_an_overdrawn_counter() -> None:
    held(counter(limit=1, settled=5), usd=0)


def test_sums_that_would_overflow_are_refused_whole() -> None:
    soft = counter(limit=1, hard=False, settled=3 * 10**18)
    first = held(soft, usd=10**18)
    assert hold_of(soft, usd=10**18) is soft
    first.settle(usd_nanos=10**18, tokens=0)
    second = held(soft)
    with pytest.raises(OverflowError):
        second.settle(usd_nanos=1, tokens=0)
    assert second.open
    assert soft.settled == 4 * 10**18


@pytest.mark.parametrize("amount", [-1, 10**18 + 1])
def test_impossible_amounts_are_refused(amount: int) -> None:
    money = counter()
    with pytest.raises(ValueError, match="amounts must be in"):
        hold_of(money, usd=amount)
    with pytest.raises(ValueError, match="amounts must be in"):
        held(money, usd=1).settle(usd_nanos=amount, tokens=0)


def test_a_minimum_above_what_is_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="a minimum"):
        hold_of(counter(), usd=1, least=(2, 0))


def test_more_counters_than_the_maximum_are_refused() -> None:
    many = tuple(counter(limit=10**9) for _ in range(COUNTERS_MAX + 1))
    with pytest.raises(ValueError, match="more than"):
        hold_of(*many, usd=1)
    held(*many[:COUNTERS_MAX], usd=1)


@pytest.mark.parametrize(
    "kept", [{"settled": -1}, {"held": -1}, {"debt": 1}, {"settled": 5 * 10**18}]
)
def test_balances_that_cannot_be_are_refused(kept: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="balances do not fit"):
        counter(**kept)


def test_a_unit_that_the_contract_does_not_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unit must be in"):
        counter(unit=4)


def test_spinning_settles_as_often_as_it_says() -> None:
    money, tokens, requests = (counter(unit, limit=10**15) for unit in (1, 2, 3))
    assert spin((money, tokens, requests), rounds=1_000) == 0
    assert (money.settled, tokens.settled, requests.settled) == (500_000, 5_000, 1_000)
    assert money.held == 0


def test_a_hold_grows_everywhere_or_nowhere() -> None:
    wide, narrow = counter(limit=100), counter(limit=20)
    hold = held(wide, narrow, usd=10)
    assert hold.extend(usd_nanos=10, tokens=0)
    assert (hold.usd_nanos, wide.held, narrow.held) == (20, 20, 20)
    assert not hold.extend(usd_nanos=1, tokens=0)
    assert (hold.usd_nanos, wide.held) == (20, 20)
    hold.settle(usd_nanos=15, tokens=0)
    assert (wide.available, narrow.available, wide.debt) == (85, 5, 0)
    with pytest.raises(ValueError, match="closed already"):
        hold.extend(usd_nanos=1, tokens=0)


def test_what_is_lent_counts_as_used() -> None:
    money = counter(limit=100)
    money.lend(60)
    assert (money.leased, money.used, money.available) == (60, 60, 40)
    assert hold_of(money, usd=41) is money
    money.suspend(20)
    assert (money.leased, money.suspense, money.available) == (40, 20, 40)
    money.revive(5)
    money.take_back(15, suspended=True)
    money.take_back(10, suspended=False)
    assert (money.leased, money.suspense, money.available) == (35, 0, 65)
    money.post(used=30, lent=25, debt=5, suspended=False)
    assert (money.leased, money.settled, money.debt, money.available) == (10, 30, 5, 65)


@pytest.mark.parametrize("amount", [-1, 41])
def test_what_is_not_there_cannot_be_lent_or_taken(amount: int) -> None:
    money = counter(limit=40, leased=0)
    with pytest.raises(ValueError, match="cannot be lent"):
        money.lend(amount)
    for move in (money.suspend, money.revive):
        with pytest.raises(ValueError, match="cannot be taken"):
            move(amount)
    with pytest.raises(ValueError, match="cannot be taken"):
        money.take_back(amount, suspended=False)
    with pytest.raises(ValueError, match="cannot be taken"):
        money.post(used=50, lent=amount, debt=0, suspended=False)
    assert (money.used, money.available) == (0, 40)


def test_the_percentile_of_holds_follows_the_traffic() -> None:
    money = counter(limit=10**15)
    for i in range(2_000):
        held(money, usd=1_000 if i % 100 != 50 else 5_000).void()
    low = money.hold_p95
    for i in range(2_000):
        held(money, usd=1_000 if i % 100 < 80 else 5_000).void()
    assert 1_000 <= low < 2_000
    assert money.hold_p95 > 4_000
