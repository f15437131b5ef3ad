"""A Router's half of the lease protocol: holds and settles without asking, and what it says when."""

import msgspec
import pytest
from lease_rig import LEAST, ONE, PATH, Rig
from money_world import S_NS, START_NS

from harmost.core.budget.escrow import LEASE_NS
from harmost.core.budget.lease import Amounts, LeaseName, Push, SyncAnswer
from harmost.core.budget.leases import POSTINGS_MAX, Miss
from harmost.core.budget.ledger import Counter, Hold
from harmost.core.budget.nodes import Amount, BudgetPath, compile_limits
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_first_attempt_of_a_path_waits_for_one_message(rig: Rig) -> None:
    miss = rig.reserve()
    assert isinstance(miss, Miss)
    assert (miss.lease, miss.denied, miss.sequence) == (None, False, 1)
    assert rig.book.wants_message(rig.clock_ns)
    rig.sync()
    assert isinstance(rig.reserve(LEAST, LEAST), Hold)


def test_most_attempts_wait_for_none(rig: Rig) -> None:
    rig.settle(rig.held())
    rig.seconds(5, attempts=2)
    before = rig.host.disk.routers["r"].sequence
    for _ in range(3):
        rig.settle(rig.held())
    assert rig.host.disk.routers["r"].sequence == before


def test_a_hold_is_whole_while_the_ledger_has_more(rig: Rig) -> None:
    for _ in range(10):
        assert rig.held().usd_nanos == ONE.usd_nanos


def test_a_hold_is_less_only_when_the_ledger_said_that_there_is_no_more() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.00025"),)))
    assert [rig.held().usd_nanos for _ in range(3)] == [100_000, 100_000, 50_000]
    miss = rig.reserve()
    assert isinstance(miss, Miss)
    assert miss.denied


def test_every_last_hold_of_a_limit_is_admitted_and_no_more() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.001"),)))
    books = [rig.new_book(f"r{i}") for i in range(4)]
    admitted = 0
    for _ in range(40):
        for book in books:
            admitted += isinstance(rig.reserve(ONE, ONE, book=book), Hold)
            rig.sync(book)
            for push in rig.host.pushes():
                for other in books:
                    if other.router == push.router:
                        other.told(push)
        rig.now_ns += S_NS
    assert admitted == 10


def test_a_denial_is_not_asked_for_again_at_once() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.0001"),)))
    rig.held()
    assert isinstance(rig.reserve(), Miss)
    rig.sync()
    for _ in range(100):
        miss = rig.reserve()
        assert isinstance(miss, Miss)
        assert miss.denied
    assert not rig.book.wants_message(rig.clock_ns)
    rig.now_ns += S_NS
    miss = rig.reserve()
    assert isinstance(miss, Miss)
    assert not miss.denied


def test_a_lease_stays_while_an_attempt_that_costs_nothing_is_charged_to_it(rig: Rig) -> None:
    free = Amount(0, 100)
    hold = rig.held(free, free)
    money = rig.lease(LeaseName("org", 1, "day"))
    assert (money.counter.held, money.counter.open_holds) == (0, 1)
    rig.seconds(90)  # an answer that takes its time
    rig.settle(hold, usd_nanos=0, tokens=10)
    rig.sync()
    assert len(rig.host.disk.postings) == 1
    rig.seconds(90)
    assert not rig.book.every_lease()


def test_a_denial_of_much_is_none_of_little() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.00025"),)))
    rig.settle(rig.held(), usd_nanos=ONE.usd_nanos)
    much = Amount(150_001, 1)
    for _ in range(2):
        found = rig.reserve(much, much)
        rig.sync()
    assert isinstance(found, Miss)
    assert found.denied
    little = rig.reserve(ONE, ONE)
    assert not isinstance(little, Miss) or not little.denied
    rig.sync()
    assert isinstance(rig.reserve(ONE, ONE), Hold)


def test_a_denial_that_the_ledger_clears_is_asked_for_again() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.0001"),)))
    rig.held()
    rig.reserve()
    rig.sync()
    (lease,) = rig.book.every_lease()
    rig.book.told(Push("r", lease.counter.id, "cleared"))
    miss = rig.reserve()
    assert isinstance(miss, Miss)
    assert not miss.denied


def test_without_a_ledger_leases_are_spent_until_their_term_is_over(rig: Rig) -> None:
    rig.settle(rig.held())
    rig.reachable = False
    rig.now_ns += LEASE_NS - 1
    assert isinstance(rig.reserve(LEAST, LEAST), Hold)
    rig.now_ns += 1
    miss = rig.reserve(LEAST, LEAST)
    assert isinstance(miss, Miss)
    assert not miss.denied
    rig.reachable = True
    rig.sync()
    assert isinstance(rig.reserve(LEAST, LEAST), Hold)


def test_without_a_ledger_a_soft_ceiling_admits_for_ever() -> None:
    soft = Limit(window="hour", requests=1, enforcement="soft")
    rig = Rig(BudgetSpec(limits=(soft,)))
    rig.settle(rig.held())
    rig.reachable = False
    for _ in range(5):
        rig.now_ns += 3_600 * S_NS
        rig.settle(rig.held())
    (lease,) = rig.book.every_lease()
    assert lease.used_permille >= 5_000
    rig.reachable = True
    rig.sync()
    assert sum(len(row.counters) for row in rig.host.disk.postings.values()) in (1, 6)
    rig.sync()
    assert len(rig.host.disk.postings) == 6


def test_a_lease_follows_what_is_burnt(rig: Rig) -> None:
    rig.settle(rig.held())
    rig.seconds(20, attempts=1)
    slow = rig.lease(LeaseName("org", 1, "day")).target
    for _ in range(20):
        rig.now_ns += S_NS
        for _ in range(5):
            rig.settle(rig.held(), usd_nanos=20_000)
        rig.sync()
    assert rig.lease(LeaseName("org", 1, "day")).target > slow


def test_a_lease_is_asked_for_by_who_waits_and_for_as_many_who_come_meanwhile() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="100"),)))
    rig.held()
    waiting = 0
    while waiting < 20:
        waiting += isinstance(rig.reserve(), Miss)
    rig.sync()
    admitted = 0
    while isinstance(rig.reserve(), Hold):
        admitted += 1
    assert admitted >= 2 * waiting


def test_what_is_idle_goes_back(rig: Rig) -> None:
    rig.settle(rig.held())
    rig.seconds(45)
    assert [lease for lease in rig.host.disk.leases.values() if lease.left] == []
    rig.settle(rig.held())


def test_what_others_need_goes_back_at_once(rig: Rig) -> None:
    rig.settle(rig.held())
    lease = rig.lease(LeaseName("org", 1, "day"))
    rig.seconds(2)
    assert lease.counter.available > 0
    rig.book.told(Push("r", lease.counter.id, "recall"))
    rig.sync()
    assert lease.counter.available == 0
    assert rig.host.counters.account(lease.counter.id).counter.leased == 0


def test_the_next_window_is_at_hand_when_it_begins(rig: Rig) -> None:
    rig.seconds(20, attempts=1)
    to_next = 3_600 * S_NS - (rig.now_ns - START_NS)
    rig.now_ns += to_next - 20 * S_NS
    for _ in range(19):
        rig.seconds(1)
        hold = rig.held(LEAST, LEAST)
        rig.settle(hold)
    rig.now_ns += S_NS
    rig.reachable = False
    assert rig.now_ns == START_NS + 3_600 * S_NS
    rolled = rig.reserve(LEAST, LEAST)
    assert isinstance(rolled, Hold), "no message is needed at the turn of the hour"


def test_a_late_settlement_goes_to_the_window_of_its_admission(rig: Rig) -> None:
    late = rig.held()
    first = [counter.id for counter in late.counters]
    rig.now_ns += 3_600 * S_NS
    rig.sync()
    rig.settle(rig.held(), tokens=33)
    rig.settle(late, tokens=77)
    rig.sync()
    rows = list(rig.host.disk.postings.values())
    assert list(rows[1].counters) == first
    hours = {
        account.bounds.start_ns: account.counter.settled
        for account in rig.host.counters.accounts.values()
        if account.name == LeaseName("org", 2, "hour")
    }
    assert hours == {START_NS: 77, START_NS + 3_600 * S_NS: 33}


def test_a_message_is_sent_again_unchanged_until_it_is_answered(rig: Rig) -> None:
    rig.settle(rig.held())
    first = rig.book.request(clock_ns=rig.clock_ns)
    rig.settle(rig.held(LEAST, LEAST))
    rig.now_ns += S_NS
    assert rig.book.request(clock_ns=rig.clock_ns) is first
    assert rig.book.owed == 2
    rig.sync()
    assert rig.book.owed == 1


def test_an_answer_to_another_message_changes_nothing(rig: Rig) -> None:
    rig.held()
    before = [(lease.granted, lease.returned) for lease in rig.book.every_lease()]
    assert not rig.book.apply(SyncAnswer("applied", 99), clock_ns=rig.clock_ns)
    assert not rig.book.apply(SyncAnswer("applied", 1), clock_ns=rig.clock_ns)
    assert [(lease.granted, lease.returned) for lease in rig.book.every_lease()] == before


def test_a_fenced_book_lends_no_more_and_proves_what_it_knows(rig: Rig) -> None:
    open_still, closed = rig.held(), rig.held()
    old, rig.book = rig.book, rig.new_book("r")
    rig.sync(old)
    assert old.fenced
    assert isinstance(rig.reserve(LEAST, LEAST, book=old), Miss)
    old.settle("late", closed, Amounts(1_000, 10, 1))
    rig.book.prove(old.evidence())
    rig.sync()
    assert rig.host.disk.postings["late"].used == (1_000, 10, 1)
    assert not old.done
    suspense = [account.counter.suspense for account in rig.host.counters.accounts.values()]
    assert max(suspense) >= ONE.usd_nanos
    old.void("later", open_still)
    rig.book.prove(old.evidence())
    rig.sync()
    assert old.done
    assert not any(lease.left for lease in rig.host.disk.leases.values() if lease.suspended)


def test_a_ledger_that_forgot_its_answers_is_not_trusted(rig: Rig) -> None:
    rig.held()
    rig.sync()
    rig.book.request(clock_ns=rig.clock_ns)
    assert rig.book.apply(SyncAnswer("gap", 0), clock_ns=rig.clock_ns)
    assert rig.book.fenced


def test_a_message_has_a_bound_and_the_rest_follows(rig: Rig) -> None:
    path = Rig(BudgetSpec(limits=(Limit(window="total", requests=10**9),)))
    for hold in [path.held(Amount(0, 0), Amount(0, 0)) for _ in range(POSTINGS_MAX + 5)]:
        path.settle(hold, 0, 0)
    first = path.book.request(clock_ns=path.clock_ns)
    assert len(first.postings) == POSTINGS_MAX
    path.sync()
    path.sync()
    assert len(path.host.disk.postings) == POSTINGS_MAX + 5
    assert path.host.counters.account(1).counter.settled == POSTINGS_MAX + 5


def test_an_attempt_settles_once(rig: Rig) -> None:
    hold = rig.held()
    rig.settle(hold)
    with pytest.raises(ValueError, match="closed already"):
        rig.settle(hold)
    with pytest.raises(ValueError, match="closed already"):
        rig.book.void("t", hold)
    assert rig.book.owed == 1


@pytest.mark.parametrize("amount", [-1, USD_NANOS_MAX + 1])
def test_amounts_that_cannot_be_are_refused(rig: Rig, amount: int) -> None:
    hold = rig.held()
    with pytest.raises(ValueError, match="amounts must be in"):
        rig.reserve(Amount(amount, 0), Amount(0, 0))
    with pytest.raises(ValueError, match="amounts must be in"):
        rig.book.settle("t", hold, Amounts(amount, 0, 1))
    rig.settle(hold)


def test_the_most_that_can_be_asked_for_is_bounded() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="1000000000"),)))
    huge = Amount(USD_NANOS_MAX, 0)
    for _ in range(50):
        rig.reserve(huge, huge)
    request = rig.book.request(clock_ns=rig.clock_ns)
    assert max(ask.amount for ask in request.asks) <= USD_NANOS_MAX
    assert rig.host.sync(request).status == "applied"


@pytest.mark.parametrize("days", [-1, 1])
def test_a_ledger_whose_clock_jumps_a_day_gives_nothing_twice(rig: Rig, days: int) -> None:
    rig.settle(rig.held(), usd_nanos=70_000)
    rig.sync()
    rig.now_ns += days * 86_400 * S_NS
    book = rig.new_book("other")
    rig.reserve(book=book)
    rig.now_ns -= days * 86_400 * S_NS
    rig.sync()
    day = rig.lease(LeaseName("org", 1, "day"))
    assert rig.host.counters.account(day.counter.id).counter.settled == 70_000


def test_limits_that_the_ledger_does_not_know_yet_deny_for_a_second(rig: Rig) -> None:
    newer = compile_limits(
        {
            "new": (
                Metadata(name="new", tenant="org"),
                BudgetSpec(limits=(Limit(window="day", usd="1"),)),
            )
        }
    )
    rig.book.use(newer)
    rig.reserve()
    rig.sync()
    miss = rig.reserve()
    assert isinstance(miss, Miss)
    assert (miss.denied, miss.limit.budget) == (True, "new")


def test_a_path_without_ceilings_is_free(rig: Rig) -> None:
    held = rig.book.reserve(BudgetPath("else"), ONE, LEAST, clock_ns=rig.clock_ns)
    assert isinstance(held, Hold)
    rig.settle(held)
    rig.sync()
    assert len(rig.host.disk.postings) == 1


def test_a_hold_grows_out_of_what_is_lent_and_asks_for_what_is_not(rig: Rig) -> None:
    ceiling = Counter(0, unit=1, limit=10**9, hard=True)
    rig.settle(rig.held())
    hold = rig.book.reserve(PATH, LEAST, LEAST, clock_ns=rig.clock_ns, own=ceiling)
    assert isinstance(hold, Hold)
    lease = rig.lease(LeaseName("org", 1, "day"))
    more = Amount(lease.counter.available + 1, 0)
    held = hold.usd_nanos
    assert not rig.book.extend(hold, more, clock_ns=rig.clock_ns)
    assert (hold.usd_nanos, ceiling.held) == (held, held)
    assert rig.book.wants_message(rig.clock_ns)
    rig.sync()
    assert rig.book.extend(hold, more, clock_ns=rig.clock_ns)
    assert hold.usd_nanos == ceiling.held == held + more.usd_nanos


def test_a_hold_grows_no_more_once_the_term_of_what_was_lent_is_over(rig: Rig) -> None:
    hold = rig.held()
    rig.reachable = False
    rig.now_ns += LEASE_NS
    assert not rig.book.extend(hold, Amount(1, 1), clock_ns=rig.clock_ns)


def test_a_hold_that_the_ledger_has_nothing_for_asks_once_a_second() -> None:
    rig = Rig(BudgetSpec(limits=(Limit(window="total", usd="0.0001"),)))
    hold = rig.held(ONE, ONE)
    for _ in range(3):
        assert not rig.book.extend(hold, Amount(10, 0), clock_ns=rig.clock_ns)
        if rig.book.wants_message(rig.clock_ns):
            rig.sync()
    assert rig.lease(LeaseName("b", 1, "total")).denied_until_ns > rig.clock_ns
    assert not rig.book.extend(hold, Amount(10, 0), clock_ns=rig.clock_ns)
    assert not rig.book.wants_message(rig.clock_ns)
    rig.settle(hold, usd_nanos=100_000)


def test_a_request_survives_its_encoding(rig: Rig) -> None:
    rig.settle(rig.held())
    request = rig.book.request(clock_ns=rig.clock_ns)
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=type(request))
    assert decoded == request
