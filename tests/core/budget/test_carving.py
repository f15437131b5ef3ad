"""What a mission may cost: a ceiling beside its budgets, or money held out of them for all of it."""

import pytest
from lease_rig import LEAST, ONE, PATH, Rig

from harmost.core.budget.escrow import LEASE_NS
from harmost.core.budget.lease import Amounts, LeaseName
from harmost.core.budget.leases import Miss
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Amount
from harmost.core.resources.kinds import BudgetSpec, Limit

MONEY = BudgetSpec(limits=(Limit(window="total", usd="0.001"),))  # a million nanodollars
HOURS = BudgetSpec(
    limits=(Limit(window="hour", usd="0.001"), Limit(window="hour", tokens=1_000)),
)
USD = LeaseName("b", 1, "total")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def own(limit: int) -> Counter:
    return Counter(0, unit=1, limit=limit, hard=True)


def test_a_ceiling_of_ones_own_bounds_all_attempts_together(rig: Rig) -> None:
    rig.settle(rig.held())
    rig.seconds(3, attempts=3)
    ceiling = own(160_000)

    def reserve() -> Hold | Miss | None:
        return rig.book.reserve(PATH, ONE, LEAST, clock_ns=rig.clock_ns, own=ceiling)

    first, second = reserve(), reserve()
    assert isinstance(first, Hold)
    assert isinstance(second, Hold)
    assert (first.usd_nanos, second.usd_nanos) == (100_000, 60_000)
    assert reserve() is None
    rig.settle(first, usd_nanos=20_000)
    third = reserve()
    assert isinstance(third, Hold)
    assert third.usd_nanos == 80_000
    rig.settle(second, usd_nanos=60_000)
    rig.settle(third, usd_nanos=80_000)
    assert (ceiling.settled, ceiling.available) == (160_000, 0)
    rig.sync()
    rows = list(rig.host.disk.postings.values())[-3:]
    assert [row.used.usd_nanos for row in rows] == [20_000, 60_000, 80_000]
    assert all(0 not in row.counters and len(row.counters) >= 6 for row in rows)


def test_a_ceiling_of_ones_own_takes_nothing_where_a_lease_is_short() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.00001"),)))
    ceiling = own(10**9)
    for _ in range(3):
        found = rig.book.reserve(PATH, ONE, LEAST, clock_ns=rig.clock_ns, own=ceiling)
        assert isinstance(found, Miss)
        rig.sync()
    assert (ceiling.held, ceiling.settled) == (0, 0)


def test_a_fenced_book_proves_attempts_under_a_ceiling_of_their_own(rig: Rig) -> None:
    rig.held()
    hold = rig.book.reserve(PATH, LEAST, LEAST, clock_ns=rig.clock_ns, own=own(10**9))
    assert isinstance(hold, Hold)
    rig.settle(hold)
    assert 0 not in dict(rig.book.evidence().outstanding)


def carved(rig: Rig, usd_nanos: int) -> Hold:
    for _ in range(3):
        found = rig.book.carve(PATH, usd_nanos, clock_ns=rig.clock_ns)
        if isinstance(found, Hold):
            return found
        rig.sync()
    raise AssertionError("not held")


def part(rig: Rig, whole: Hold, amount: Amount = ONE, least: Amount = LEAST) -> Hold | Miss | None:
    return rig.book.reserve(PATH, amount, least, clock_ns=rig.clock_ns, own=whole)


def part_held(rig: Rig, whole: Hold, amount: Amount = ONE, least: Amount = LEAST) -> Hold:
    for _ in range(3):
        found = part(rig, whole, amount, least)
        if isinstance(found, Hold):
            return found
        rig.sync()
    raise AssertionError("not admitted")


def test_siblings_that_spend_all_else_take_nothing_of_a_mission() -> None:
    rig = Rig(MONEY)
    whole = carved(rig, 600_000)
    assert not isinstance(whole, Miss)
    admitted = 0
    for _ in range(20):  # who else is there spends until nothing is left
        found = rig.reserve(ONE, ONE)
        if isinstance(found, Hold):
            admitted += 1
            rig.settle(found, usd_nanos=ONE.usd_nanos)
        else:
            rig.sync()
            rig.now_ns += 10**9
    assert admitted == 4
    for _ in range(6):
        rig.settle(part_held(rig, whole, ONE, ONE), usd_nanos=ONE.usd_nanos)
    assert part(rig, whole, ONE, ONE) is None
    whole.void()
    rig.sync()
    assert rig.lease(USD).counter.settled == 10**6


def test_without_it_siblings_end_a_mission_half_way() -> None:
    rig = Rig(MONEY)
    ceiling = own(600_000)
    for _ in range(40):
        found = rig.reserve(ONE, ONE)
        if isinstance(found, Hold):
            rig.settle(found, usd_nanos=ONE.usd_nanos)
        rig.sync()
        rig.now_ns += 10**9
    first = rig.book.reserve(PATH, ONE, LEAST, clock_ns=rig.clock_ns, own=ceiling)
    assert isinstance(first, Miss)
    assert ceiling.available == 600_000


def test_a_mission_is_held_whole_or_not_at_all() -> None:
    rig = Rig(MONEY)
    rig.settle(rig.held(ONE, ONE), usd_nanos=ONE.usd_nanos)
    for _ in range(3):
        found = rig.book.carve(PATH, 900_001, clock_ns=rig.clock_ns)
        rig.sync()
    assert isinstance(found, Miss)
    assert found.denied
    assert rig.lease(USD).counter.held == 0


def test_attempts_of_a_mission_are_charged_at_every_ceiling_and_told(rig: Rig) -> None:
    whole = carved(rig, 500_000)
    attempt = part_held(rig, whole)
    assert (attempt.usd_nanos, attempt.tokens, attempt.requests) == (100_000, 100, 1)
    rig.settle(attempt, usd_nanos=30_000, tokens=20)
    plain = rig.held()
    rig.settle(plain, usd_nanos=30_000, tokens=20)
    rig.sync()
    first, second = list(rig.host.disk.postings.values())[-2:]
    assert set(first.counters) == set(second.counters)
    assert (first.held, first.used) == (Amounts(100_000, 100, 1), Amounts(30_000, 20, 1))
    assert whole.usd_nanos == 470_000


def test_an_attempt_has_no_more_than_its_mission_has_left(rig: Rig) -> None:
    whole = carved(rig, 160_000)
    first, second = part_held(rig, whole), part_held(rig, whole)
    assert (first.usd_nanos, second.usd_nanos) == (100_000, 60_000)
    assert part(rig, whole) is None
    rig.settle(first, usd_nanos=20_000)
    third = part_held(rig, whole)
    assert third.usd_nanos == 80_000


def test_what_a_mission_did_not_use_is_the_ledgers_again(rig: Rig) -> None:
    whole = carved(rig, 1_000_000)
    rig.settle(part_held(rig, whole), usd_nanos=1_000)
    rig.seconds(60)
    lease = rig.lease(LeaseName("org", 1, "day"))
    assert lease.counter.held == 999_000  # a mission under way is not idle
    whole.void()
    rig.seconds(60)
    account = rig.host.counters.named(LeaseName("org", 1, "day"), rig.now_ns)
    assert account is not None
    assert (account.counter.leased, account.counter.settled) == (0, 1_000)


def test_a_mission_spends_what_it_holds_while_the_ledger_is_away() -> None:
    rig = Rig(MONEY)
    whole = carved(rig, 300_000)
    rig.reachable = False
    rig.now_ns += LEASE_NS
    assert isinstance(rig.reserve(ONE, ONE), Miss)
    assert isinstance(rig.book.carve(PATH, 1, clock_ns=rig.clock_ns), Miss)
    attempt = part(rig, whole, ONE, ONE)
    assert isinstance(attempt, Hold)
    assert rig.book.extend(attempt, Amount(1_000, 10), clock_ns=rig.clock_ns)
    rig.settle(attempt, usd_nanos=50_000)
    rig.host.expire()
    rig.reachable = True
    rig.sync()
    assert rig.host.disk.postings


def test_its_tokens_are_not_promised(rig: Rig) -> None:
    whole = carved(rig, 1_000_000)
    attempt = part_held(rig, whole)
    rig.reachable = False
    rig.now_ns += LEASE_NS
    assert isinstance(part(rig, whole), Miss)
    assert not rig.book.extend(attempt, Amount(1, 1), clock_ns=rig.clock_ns)
    rig.reachable = True
    rig.sync()
    short = Amount(1, rig.lease(LeaseName("org", 2, "hour")).counter.available + 1)
    assert isinstance(part(rig, whole, short, short), Miss)
    assert rig.book.extend(attempt, Amount(1, 1), clock_ns=rig.clock_ns)


def test_a_mission_that_outlives_its_window_is_charged_to_it() -> None:
    rig = Rig(HOURS)
    whole = carved(rig, 300_000)
    before = part_held(rig, whole)
    rig.now_ns += 3_600 * 10**9
    rig.sync()
    after = part_held(rig, whole)
    assert after.counters[0] is before.counters[0]  # money: of the window in which it was held
    assert after.counters[1] is not before.counters[1]  # tokens: of the window of the attempt
    rig.settle(before, usd_nanos=10_000, tokens=1)
    rig.settle(after, usd_nanos=20_000, tokens=2)
    rig.sync()
    balances = {id: a.counter.settled for id, a in rig.host.counters.accounts.items()}
    assert balances[before.counters[0].id] == 30_000
    assert balances[after.counters[1].id] == 2


def test_what_a_mission_holds_is_outstanding_until_it_ends(rig: Rig) -> None:
    whole = carved(rig, 500_000)
    attempt = part_held(rig, whole)
    rig.settle(attempt, usd_nanos=40_000)
    money = whole.counters[0].id
    assert dict(rig.book.evidence().outstanding)[money] == 460_000
    assert not rig.book.done
    whole.void()
    assert dict(rig.book.evidence().outstanding)[money] == 0


def test_a_mission_without_a_ceiling_of_money_above_holds_it_nowhere() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="hour", tokens=1_000),)))
    whole = carved(rig, 500_000)
    assert whole.counters == ()
    attempt = part_held(rig, whole)
    assert (attempt.usd_nanos, attempt.tokens) == (100_000, 100)
    assert rig.book.extend(attempt, Amount(400_000, 1), clock_ns=rig.clock_ns)
    assert not rig.book.extend(attempt, Amount(1, 0), clock_ns=rig.clock_ns)
