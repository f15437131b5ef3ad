"""The ledger's half of the lease protocol: what it lends, takes back, and refuses."""

import msgspec
import pytest
from money_host import LedgerHost
from money_limits import limits
from money_world import S_NS, START_NS

from harmost.core.budget.escrow import AHEAD_NS, GRACE_NS, LEASE_NS
from harmost.core.budget.lease import (
    Amounts,
    Evidence,
    LeaseAsk,
    LeaseGrant,
    LeaseName,
    LeaseReport,
    Posting,
    Push,
    SyncAnswer,
    SyncRequest,
)
from harmost.core.budget.ledger import Counter
from harmost.core.errors import InvalidInput, NotFound, NotPossibleNow

USD = LeaseName("org", 1, "total")
HOUR = LeaseName("org", 2, "hour")
SOFT = LeaseName("org", 3, "hour")
LIMIT = 36_000_000  # of USD


class Rig:
    """A ledger, and Routers that say what a test wants them to say."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.host = LedgerHost(limits(), lambda: self.now_ns)
        self.epochs: dict[str, int] = {}
        self.sequences: dict[str, int] = {}

    def register(self, router: str = "r") -> int:
        self.epochs[router] = self.host.register(router)
        self.sequences[router] = 0
        return self.epochs[router]

    def request(self, router: str = "r", **fields: object) -> SyncRequest:
        return msgspec.structs.replace(
            SyncRequest(router, self.epochs[router], self.sequences[router] + 1), **fields
        )

    def say(self, router: str = "r", **fields: object) -> SyncAnswer:
        answer = self.host.sync(self.request(router, **fields))
        self.sequences[router] = answer.sequence
        return answer

    def ask(
        self,
        amount: int,
        needed: int = 0,
        minimum: int = 0,
        *,
        router: str = "r",
        name: LeaseName = USD,
    ) -> LeaseGrant:
        if router not in self.epochs:
            self.register(router)
        answer = self.say(router, asks=(LeaseAsk(name, amount, needed, minimum),))
        return answer.grants[0]

    def counter(self, name: LeaseName = USD) -> Counter:
        found = self.host.counters.named(name, self.now_ns)
        assert found is not None
        return found.counter

    def posting(self, attempt_id: str, used: int, *, held: int | None = None) -> Posting:
        return Posting(
            attempt_id,
            (self.counter().id,),
            Amounts(used if held is None else held, 0, 1),
            Amounts(used, 0, 1),
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_one_router_alone_gets_at_the_most_half_of_what_is_free(rig: Rig) -> None:
    assert rig.ask(1_000).granted == 1_000
    assert rig.ask(10**9).granted == 1_000 + (LIMIT - 1_000) // 2
    assert rig.counter().leased == rig.ask(0).granted


def test_routers_that_asked_of_late_share(rig: Rig) -> None:
    for router in "abc":
        rig.ask(0, router=router)
    assert rig.ask(10**9, router="a").granted == LIMIT // 6
    rig.now_ns += 31 * S_NS
    assert rig.ask(10**9, router="b").granted == (LIMIT - LIMIT // 6) // 2


def test_what_waits_is_granted_though_it_is_more_than_a_fair_share(rig: Rig) -> None:
    grant = rig.ask(10**9, LIMIT - 5, LIMIT - 5)
    assert (grant.granted, grant.denied) == (LIMIT - 5, False)


def test_near_the_end_what_is_left_goes_to_those_that_wait(rig: Rig) -> None:
    rig.ask(LIMIT - 250, LIMIT - 250, 100)
    grant = rig.ask(1_000, 1_000, 100)
    assert (grant.granted, grant.denied) == (LIMIT, True)


def test_less_than_the_least_that_is_of_use_is_not_granted(rig: Rig) -> None:
    rig.ask(LIMIT - 50, LIMIT - 50)
    grant = rig.ask(100, 100, 51, router="b")
    assert (grant.granted, grant.denied) == (0, True)


def test_a_soft_ceiling_grants_nothing_and_denies_nothing(rig: Rig) -> None:
    grant = rig.ask(1_000, 1_000, 1_000, name=SOFT)
    assert (grant.hard, grant.granted, grant.denied) == (False, 0, False)


def test_an_overdrawn_ceiling_lends_nothing_and_breaks_nothing(rig: Rig) -> None:
    rig.ask(LIMIT, LIMIT)
    rig.host.use(limits(50))
    assert rig.counter().available < 0
    assert rig.ask(5, router="b").granted == 0
    assert rig.ask(5, 5, router="b").denied


def test_a_limit_that_was_raised_lends_more(rig: Rig) -> None:
    rig.ask(LIMIT, LIMIT)
    assert rig.ask(5, 5, router="b").denied
    rig.host.use(limits(200))
    assert Push("b", rig.counter().id, "cleared") in rig.host.pushes()
    assert not rig.ask(5, 5, router="b").denied


def test_the_same_message_has_the_same_answer_and_no_other_effect(rig: Rig) -> None:
    rig.register()
    request = rig.request(asks=(LeaseAsk(USD, 100),))
    first = rig.host.sync(request)
    before = rig.host.disk.copy()
    assert rig.host.sync(request) == first
    assert rig.host.disk == before
    rig.host.restart()
    assert rig.host.sync(request) == first


def test_a_message_out_of_turn_changes_nothing(rig: Rig) -> None:
    rig.ask(100)
    before = rig.host.disk.copy()
    for sequence in (0, 3, 99, -1):
        answer = rig.host.sync(rig.request(sequence=sequence, asks=(LeaseAsk(USD, 100),)))
        assert (answer.status, answer.sequence) == ("gap", 1)
    assert rig.host.disk == before


def test_an_epoch_that_is_over_or_was_never_is_fenced(rig: Rig) -> None:
    rig.ask(100)
    rig.register()
    before = rig.host.disk.copy()
    for epoch in (0, 1, 3, 99, -1):
        assert rig.host.sync(rig.request(epoch=epoch)).status == "fenced"
    assert rig.host.sync(SyncRequest("stranger", 1, 1)).status == "fenced"
    assert rig.host.disk == before


def test_what_is_posted_is_settled_out_of_the_lease(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.say(postings=(rig.posting("t", 300),), reports=(LeaseReport(id, 300, 0),))
    counter = rig.counter()
    assert (counter.settled, counter.leased, counter.debt) == (300, 700, 0)


def test_what_is_given_back_is_a_sum(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    for returned, leased in ((100, 900), (100, 900), (250, 750), (200, 750)):
        rig.say(reports=(LeaseReport(id, 0, returned),))
        assert rig.counter().leased == leased


def test_what_is_used_above_the_hold_is_debt_and_told(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.say(postings=(rig.posting("t", 1_500, held=400),), reports=(LeaseReport(id, 1_500, 0),))
    counter = rig.counter()
    assert (counter.settled, counter.leased, counter.debt) == (1_500, 600, 1_100)
    assert [(debt.above_hold, debt.not_lent) for debt in rig.host.debts] == [(1_100, 0)]


def test_what_no_lease_covers_is_told(rig: Rig) -> None:
    id = rig.ask(100).counter
    rig.say(postings=(rig.posting("t", 150),), reports=(LeaseReport(id, 150, 0),))
    assert [(debt.above_hold, debt.not_lent) for debt in rig.host.debts] == [(0, 50)]


def test_an_attempt_that_the_ledger_knows_is_not_settled_again(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.say(postings=(rig.posting("t", 300),), reports=(LeaseReport(id, 300, 0),))
    rig.say(postings=(rig.posting("t", 300),), reports=(LeaseReport(id, 600, 0),))
    counter = rig.counter()
    assert (counter.settled, counter.leased, counter.available) == (300, 400, LIMIT - 700)


def test_time_frees_nothing(rig: Rig) -> None:
    rig.ask(1_000)
    rig.now_ns += LEASE_NS + GRACE_NS
    rig.host.expire()
    assert (rig.counter().leased, rig.counter().suspense) == (1_000, 0)
    rig.now_ns += 10**18
    rig.host.expire()
    assert (rig.counter().leased, rig.counter().suspense) == (0, 1_000)
    assert rig.counter().available == LIMIT - 1_000


def test_a_router_that_is_heard_of_again_has_its_leases_back(rig: Rig) -> None:
    rig.ask(1_000)
    rig.now_ns += LEASE_NS + GRACE_NS + 1
    rig.host.expire()
    rig.say()
    assert (rig.counter().leased, rig.counter().suspense) == (1_000, 0)


def test_a_restarted_ledger_gives_every_router_a_whole_term(rig: Rig) -> None:
    rig.ask(1_000)
    rig.now_ns += 10**15
    rig.host.restart()
    rig.host.expire()
    assert rig.counter().leased == 1_000


def test_only_evidence_takes_money_out_of_suspense(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.register()
    assert rig.host.escrow.epochs_in_suspense("r") == (1,)
    rig.say(evidence=(Evidence(1, (rig.posting("t", 300),), ((id, 500),)),))
    counter = rig.counter()
    assert (counter.settled, counter.suspense, counter.available) == (300, 500, LIMIT - 800)
    rig.say(evidence=(Evidence(1, (rig.posting("u", 450, held=500),)),))
    assert (counter.settled, counter.suspense, counter.debt) == (750, 0, 0)
    assert rig.host.escrow.epochs_in_suspense("r") == ()


def test_evidence_that_comes_again_changes_nothing(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.register()
    evidence = Evidence(1, (rig.posting("t", 300),), ((id, 500),))
    rig.say(evidence=(evidence, evidence))
    rig.say(evidence=(evidence,))
    assert (rig.counter().settled, rig.counter().suspense) == (300, 500)


def test_a_person_may_write_off_what_nobody_knows(rig: Rig) -> None:
    rig.ask(1_000)
    rig.register()
    rig.host.prove("r", Evidence(1, (rig.posting("write-off", 1_000),)))
    assert (rig.counter().settled, rig.counter().suspense) == (1_000, 0)


def test_who_is_denied_is_told_when_there_is_some_again(rig: Rig) -> None:
    id = rig.ask(LIMIT, LIMIT, router="a").counter
    assert rig.ask(10, 10, 10, router="b").denied
    assert rig.host.pushes() == (Push("a", id, "recall"),)
    rig.say("a", reports=(LeaseReport(id, 0, 50),))
    assert rig.host.pushes() == (Push("b", id, "cleared"),)
    assert not rig.ask(10, 10, 10, router="b").denied


def test_a_limit_that_was_lowered_calls_idle_leases_back(rig: Rig) -> None:
    id = rig.ask(LIMIT, LIMIT, router="a").counter
    rig.host.use(limits(50))
    assert Push("a", id, "recall") in rig.host.pushes()


def test_the_next_window_is_lent_shortly_before_it_begins(rig: Rig) -> None:
    rig.register()
    ahead = LeaseAsk(HOUR, 100, following=True)
    hour = rig.counter(HOUR).id
    assert rig.say(asks=(ahead,)).grants[0].counter == hour
    rig.now_ns += 3_600 * S_NS - AHEAD_NS
    grant = rig.say(asks=(ahead,)).grants[0]
    assert grant.counter != hour
    assert grant.start_ns == rig.now_ns + AHEAD_NS


def test_a_ceiling_that_is_in_no_document_is_named(rig: Rig) -> None:
    rig.register()
    nobody = LeaseName("nobody", 1, "day")
    assert rig.say(asks=(LeaseAsk(nobody, 1),)).unknown == (nobody,)


def test_a_lease_that_is_over_is_forgotten(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.say(reports=(LeaseReport(id, 0, 1_000, closed=True),))
    assert rig.host.disk.leases == {}


@pytest.mark.parametrize(
    ("reports", "postings", "message"),
    [
        ([(0, 1_001, False)], [], "given back and `1000` is left"),
        ([(5, 0, False)], [], "is said to be posted"),
        ([(-5, 0, False)], [], "is said to be posted"),
        ([(0, 0, False), (0, 0, False)], [], "reported twice"),
        ([], [("t", -1, 0)], "is not in 0"),
        ([], [("t", 0, -1)], "is not in 0"),
        ([], [("t", 10**18 + 1, 0)], "is not in 0"),
        ([], [("t", 2**70, 0)], "is not in 0"),
        ([], [("t", 1, 1), ("t", 1, 1)], "closed twice"),
        ([], [(f"t{i}", 10**18, 0) for i in range(5)], "more than a balance can hold"),
    ],
)
def test_a_message_that_cannot_be_is_refused_whole(
    rig: Rig,
    reports: list[tuple[int, int, bool]],
    postings: list[tuple[str, int, int]],
    message: str,
) -> None:
    id = rig.ask(1_000).counter
    before = rig.host.disk.copy()
    with pytest.raises(InvalidInput, match=message):
        rig.say(
            reports=tuple(LeaseReport(id, *report) for report in reports),
            postings=tuple(rig.posting(name, used, held=held) for name, used, held in postings),
        )
    assert rig.host.disk == before
    rig.host.write()
    assert rig.host.disk == before, "nothing of it is left in memory"
    assert rig.say(asks=(LeaseAsk(USD, 1),)).grants[0].granted == 1_001


@pytest.mark.parametrize(
    "ask", [(-1, 0, 0), (10**18 + 1, 0, 0), (1, 2, 0), (2, 1, 2), (2**70, 2**70, 0), (1, 1, -1)]
)
def test_an_ask_that_cannot_be_is_refused(rig: Rig, ask: tuple[int, int, int]) -> None:
    rig.register()
    with pytest.raises(InvalidInput, match="is asked for"):
        rig.say(asks=(LeaseAsk(USD, *ask),))


@pytest.mark.parametrize("epoch", [-1, 0, 2, 3])
def test_evidence_is_of_epochs_that_have_ended(rig: Rig, epoch: int) -> None:
    rig.register()
    rig.register()
    with pytest.raises(InvalidInput, match="has not ended"):
        rig.say(evidence=(Evidence(epoch),))
    with pytest.raises(NotFound, match="is not known"):
        rig.host.prove("stranger", Evidence(1))


def test_evidence_of_less_than_nothing_is_refused(rig: Rig) -> None:
    id = rig.ask(1_000).counter
    rig.register()
    with pytest.raises(InvalidInput, match="less than nothing"):
        rig.say(evidence=(Evidence(1, (), ((id, -1),)),))


def test_a_counter_that_is_not_known_is_refused(rig: Rig) -> None:
    rig.register()
    with pytest.raises(NotFound):
        rig.say(reports=(LeaseReport(99, 0, 0),))
    with pytest.raises(NotFound):
        rig.say(postings=(Posting("t", (99,), Amounts(), Amounts()),))
    with pytest.raises(InvalidInput, match="names a counter twice"):
        id = rig.counter().id
        rig.say(postings=(Posting("t", (id, id), Amounts(), Amounts()),))


def test_names_of_routers_have_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmost.core.budget.escrow.ROUTERS_MAX", 2)
    rig.register("a")
    rig.register("b")
    rig.register("b")
    with pytest.raises(NotPossibleNow, match="`2` Routers are known"):
        rig.register("c")


def test_leases_of_a_router_have_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmost.core.budget.escrow.LEASES_MAX", 1)
    assert rig.ask(5).granted == 5
    assert rig.say(asks=(LeaseAsk(HOUR, 5),)).unknown == (HOUR,)
    assert rig.ask(5).granted == 10
