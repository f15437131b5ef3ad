"""One rate for many Routers: whatever is lost, dies or comes twice, together they keep it, and use it."""

from collections.abc import Callable

import msgspec
import pytest
from effort import effort
from rate_world import MINUTE_NS, PATH, S_NS, RateWorld, Router, run

from harmost.core.budget import rate_shares, rated_book
from harmost.core.budget.lease import LeaseName, RateAsk, RateGrant
from harmost.core.budget.leases import Miss
from harmost.core.budget.ledger import Hold
from harmost.core.budget.nodes import Amount
from harmost.core.budget.rate_shares import FORGET_NS, SHARE_NS, RateShares
from harmost.core.budget.router_rate import RouterRate
from harmost.core.resources.kinds import Limit

CALLS = LeaseName("top", 3, "minute")
TOKENS = LeaseName("top", 2, "minute")
SEEDS = effort(60, ci=600, nightly=20_000)


def calls(per_minute: int, routers: int = 3) -> RateWorld:
    return RateWorld(Limit(window="minute", requests=per_minute), routers=routers)


def tokens(per_minute: int, routers: int = 3) -> RateWorld:
    return RateWorld(Limit(window="minute", tokens=per_minute), routers=routers)


ONE = Amount(0, 0)


def test_all_routers_together_keep_every_rate_whatever_happens() -> None:
    admitted = 0
    for seed in range(SEEDS):
        limits = (Limit(window="minute", requests=(1, 7, 60)[seed % 3]),)
        below = (
            Limit(window="minute", tokens=(30, 100, 1_000)[seed % 3]),
            Limit(window="minute", usd="0.0001"),
        )
        try:
            world = run(RateWorld(*limits, below=below, routers=1 + seed % 4), seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        admitted += len(world.used[CALLS])
    assert admitted > 10 * SEEDS


def a_share_never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rated_book, "SHARE_NS", 10**15)


def shares_in_use_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate_shares, "FORGET_NS", SHARE_NS // 4)


def every_answer_pays_all_that_was_paid(patch: pytest.MonkeyPatch) -> None:
    granted = RouterRate.granted

    def again(self: RouterRate, grant: RateGrant, *, until_ns: int, clock_ns: int) -> None:
        self._grant = msgspec.structs.replace(self._grant, granted=0)
        granted(self, grant, until_ns=until_ns, clock_ns=clock_ns)

    patch.setattr(RouterRate, "granted", again)


def an_answer_counts_as_heard_at_once(patch: pytest.MonkeyPatch) -> None:
    keep_rest = RateShares._keep_rest

    def at_once(self: RateShares, now_ns: int) -> None:
        for share in self._shares.values():
            share.most_per_minute, share.most_burst = share.per_minute, share.burst
        keep_rest(self, now_ns)

    patch.setattr(RateShares, "_keep_rest", at_once)


MUTANTS = [
    a_share_never_ends,
    shares_in_use_are_forgotten,
    every_answer_pays_all_that_was_paid,
    an_answer_counts_as_heard_at_once,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_noticed(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError, match="LeaseName"):
        for seed in range(100):
            run(tokens(2_000), seed)
        cut_off().check()


def test_a_router_that_is_cut_off_with_all_that_it_has_keeps_the_rate() -> None:
    cut_off().check()


def cut_off() -> RateWorld:
    """Everyone is full; then one hears no more and spends what it has, as do all others."""
    world = tokens(6_000, routers=3)
    part = Amount(0, 300)
    for _ in range(100):
        for router in world.routers:
            world.attempt(router, part)
            world.finish(router, share=1)
        world.tick(S_NS // 5)
    lonely = world.routers.pop()
    for _ in range(120):
        for router in world.routers:
            spend(world, router)
        while isinstance(world.reserve(lonely, Amount(0, 10)), Hold):
            pass
        world.tick(S_NS // 2)
    return world


def spend(world: RateWorld, router: Router) -> None:
    """All that it gets now."""
    while isinstance(world.attempt(router, Amount(0, 10)), Hold):
        pass


def test_an_answer_that_comes_twice_pays_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = calls(60, routers=1)
    router = world.routers[0]
    assert isinstance(world.attempt(router, ONE), Hold)
    answer = world.kept["r0"].answer
    assert answer is not None
    before = router.book._rates[CALLS].level(world.clock_ns(router))
    router.book._rates[CALLS].granted(
        answer.rates[0], until_ns=2**62, clock_ns=world.clock_ns(router)
    )
    assert router.book._rates[CALLS].level(world.clock_ns(router)) == before


def test_the_first_call_after_a_rest_has_a_whole_minute_at_once() -> None:
    world = calls(60, routers=2)
    held = [world.attempt(world.routers[n % 2], ONE) for n in range(61)]
    assert [isinstance(each, Hold) for each in held] == [True] * 60 + [False]


def test_one_router_uses_all_of_a_rate() -> None:
    assert used_of(calls(600, routers=1), ONE) >= 590


def test_four_routers_use_all_of_a_rate_together() -> None:
    assert used_of(calls(600, routers=4), ONE) >= 590


def test_a_router_that_joins_has_its_share_within_seconds() -> None:
    world = calls(600, routers=2)
    first, second = world.routers
    used_of(world, ONE, only=[first])
    counts = [0, 0]
    for _ in range(100):
        for index, router in enumerate((first, second)):
            for _ in range(20):
                counts[index] += isinstance(world.attempt(router, ONE), Hold)
        world.tick(S_NS // 5)
    assert min(counts) > 50
    world.check()


def test_attempts_that_are_each_a_large_part_of_a_rate_are_admitted_one_by_one() -> None:
    """Eight Routers, none of whose parts would ever be enough for one of them."""
    world = tokens(60_000, routers=8)
    used = used_of(world, Amount(0, 16_000), minutes=4)
    assert used >= 48_000
    world.check()


def used_of(world: RateWorld, amount: Amount, *, only: list | None = None, minutes: int = 2) -> int:
    """What is used in the last of some minutes in which more is wanted all the time."""
    name = next(iter(world.limits.rates))
    for _ in range(minutes * 60 * 10):
        for router in only or world.routers:
            for _ in range(3):
                if isinstance(world.attempt(router, amount), Miss):
                    break
                world.finish(router, share=100)
        world.tick(S_NS // 10)
    world.check()
    return sum(use.amount for use in world.used[name] if use.at_ns > world.now_ns - MINUTE_NS)


def test_a_denial_tells_when_enough_has_come_and_then_it_has() -> None:
    for per_minute in (1, 2, 60, 600):
        world = calls(per_minute, routers=1)
        router = world.routers[0]
        for _ in range(per_minute):
            assert isinstance(world.attempt(router, ONE), Hold)
        for _ in range(5):
            miss = world.attempt(router, ONE)
            while not isinstance(miss, Miss):
                miss = world.attempt(router, ONE)
            assert miss.rate is not None
            assert 0 < miss.rate.wait_ns <= 2 * MINUTE_NS // per_minute + S_NS
            ends_ns = world.now_ns + miss.rate.wait_ns
            while world.now_ns < ends_ns:
                world.tick(min(S_NS, ends_ns - world.now_ns))
            assert isinstance(world.attempt(router, ONE), Hold), per_minute
        world.check()


def test_what_can_never_fit_is_told_so_and_asked_for_by_nobody() -> None:
    world = tokens(100, routers=1)
    miss = world.reserve(world.routers[0], Amount(0, 500), Amount(0, 101))
    assert isinstance(miss, Miss)
    assert (miss.denied, miss.rate and miss.rate.wait_ns) == (True, -1)
    held = world.attempt(world.routers[0], Amount(0, 500), Amount(0, 100))
    assert isinstance(held, Hold)
    assert held.tokens == 100


def test_less_is_held_where_there_is_no_more() -> None:
    world = tokens(100, routers=1)
    router = world.routers[0]
    assert isinstance(world.attempt(router, Amount(0, 70)), Hold)
    held = world.attempt(router, Amount(0, 70), Amount(0, 20))
    assert isinstance(held, Hold)
    assert held.tokens == 30


def test_a_rate_that_denies_takes_nothing_of_the_others() -> None:
    world = RateWorld(
        Limit(window="minute", requests=60), below=(Limit(window="minute", tokens=100),), routers=1
    )
    router = world.routers[0]
    assert isinstance(world.attempt(router, Amount(0, 100)), Hold)
    before = router.book._rates[CALLS].level(world.clock_ns(router))
    for _ in range(3):
        assert isinstance(world.attempt(router, Amount(0, 50)), Miss)
    assert router.book._rates[CALLS].level(world.clock_ns(router)) >= before


def test_an_answer_that_grows_takes_from_the_rate_too() -> None:
    world = tokens(100, routers=1)
    router = world.routers[0]
    held = world.attempt(router, Amount(0, 20))
    assert isinstance(held, Hold)
    clock_ns = world.clock_ns(router)
    at_hand = router.book._rates[TOKENS].level(clock_ns)
    assert router.book.extend(held, Amount(0, at_hand), clock_ns=clock_ns)
    assert held.tokens == 20 + at_hand
    assert not router.book.extend(held, Amount(0, 2), clock_ns=clock_ns)
    assert router.book.wants_message(clock_ns)
    world.sync(router)
    assert router.book.extend(held, Amount(0, 2), clock_ns=clock_ns)
    world.sync(router)
    assert world.rates.state(TOKENS, now_ns=world.now_ns)[0] == 100 - held.tokens


def test_what_was_used_beyond_a_hold_is_owed_to_the_rate() -> None:
    world = tokens(60, routers=1)
    router = world.routers[0]
    assert isinstance(world.attempt(router, Amount(0, 60)), Hold)
    world.finish(router, share=200)
    for _ in range(59):
        world.tick()
        assert isinstance(world.attempt(router, Amount(0, 1)), Miss)
    world.tick(3 * S_NS)
    assert isinstance(world.attempt(router, Amount(0, 1)), Hold)


def test_a_router_that_is_cut_off_spends_its_share_for_ten_seconds_and_no_longer() -> None:
    world = calls(6_000, routers=1)
    router = world.routers[0]
    for _ in range(300):
        assert isinstance(world.attempt(router, ONE), Hold)
        world.finish(router, share=100)
        world.tick(S_NS // 50)
    sent_ns = router.book._asked_ns
    while world.clock_ns(router) < sent_ns + SHARE_NS:
        world.pass_time(S_NS // 10)
        assert isinstance(world.reserve(router, ONE), Hold) == (
            world.clock_ns(router) < sent_ns + SHARE_NS
        )
    miss = world.reserve(router, ONE)
    assert isinstance(miss, Miss)
    assert not miss.denied


def test_a_share_is_free_again_after_its_router_died() -> None:
    world = calls(600, routers=2)
    used_of(world, ONE)
    world.routers.pop()
    lent = world.rates.state(CALLS, now_ns=world.now_ns)[1]
    world.pass_time(FORGET_NS)
    assert world.rates.state(CALLS, now_ns=world.now_ns)[1] < lent
    assert used_of(world, ONE) >= 590


def test_a_share_that_is_idle_is_given_back() -> None:
    world = calls(60, routers=1)
    router = world.routers[0]
    assert isinstance(world.attempt(router, ONE), Hold)
    world.finish(router, share=100)
    for _ in range(32):
        world.tick()
    assert world.rates.state(CALLS, now_ns=world.now_ns)[1:] == (0, 0)
    assert not router.book._rates


def test_who_leaves_gives_its_shares_back_at_once() -> None:
    world = calls(60, routers=1)
    router = world.routers[0]
    assert isinstance(world.attempt(router, ONE), Hold)
    router.book.leave()
    assert router.book.wants_message(world.clock_ns(router))
    world.sync(router)
    assert world.rates.state(CALLS, now_ns=world.now_ns)[1:] == (0, 0)


def test_a_ledger_that_begins_anew_knows_what_it_told() -> None:
    world = calls(600, routers=1)
    router = world.routers[0]
    for _ in range(100):
        world.attempt(router, ONE)
        world.tick(S_NS // 50)
    lent = world.rates.state(CALLS, now_ns=world.now_ns)[1:]
    assert all(lent)
    world.start()
    assert world.rates.state(CALLS, now_ns=world.now_ns)[1:] == lent
    assert isinstance(world.attempt(router, ONE), Hold)  # which goes on with what it has


def test_a_limit_that_is_lowered_holds_from_the_next_message_on() -> None:
    world = calls(600, routers=1)
    router = world.routers[0]
    for _ in range(50):
        world.attempt(router, ONE)
    lower = RateWorld(Limit(window="minute", requests=6), routers=0)
    world.rates.use(lower.limits.rates, now_ns=world.now_ns)
    router.book.use(lower.limits)
    world.sync(router)
    assert router.book._rates[CALLS].level(world.clock_ns(router)) <= 6


def test_a_document_that_comes_back_has_no_second_minute() -> None:
    world = calls(60, routers=1)
    for _ in range(60):
        assert isinstance(world.attempt(world.routers[0], ONE), Hold)
    world.rates.use({}, now_ns=world.now_ns)
    world.rates.use(world.limits.rates, now_ns=world.now_ns)
    assert isinstance(world.attempt(world.routers[0], ONE), Miss)


def test_a_rate_that_the_ledger_does_not_know_is_no_rate_that_denies() -> None:
    world = calls(60, routers=1)
    world.rates.use({}, now_ns=world.now_ns)
    miss = world.attempt(world.routers[0], ONE)
    assert isinstance(miss, Miss)
    assert (miss.denied, miss.rate, miss.lease) == (True, None, None)


def test_routers_that_share_a_rate_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_shares, "ROUTERS_MAX", 2)
    shares = RateShares(90, level=90, now_ns=0)
    ask = RateAsk(CALLS, 10, 10)
    assert [shares.ask(name, ask, number=1, now_ns=0).denied for name in "aabc"] == [
        False,
        False,
        False,
        True,
    ]


def test_a_router_in_error_gives_back_no_more_than_it_has() -> None:
    shares = RateShares(90, level=90, now_ns=0)
    shares.ask("a", RateAsk(CALLS, 10, 10), number=1, now_ns=0)
    shares.ask("a", RateAsk(CALLS, 10, 10, returned=10**18), number=2, now_ns=0)
    assert shares.level(0) <= 90


def test_a_program_and_routers_share_a_rate() -> None:
    world = calls(60, routers=1)
    for _ in range(20):
        assert isinstance(world.attempt(world.routers[0], ONE), Hold)
    taken = 0
    while world.take(CALLS, 1):
        taken += 1
    assert taken <= 40
    world.check()


def test_a_path_is_asked_about_in_one_message() -> None:
    world = RateWorld(
        Limit(window="minute", requests=60), below=(Limit(window="minute", tokens=100),), routers=1
    )
    assert isinstance(world.attempt(world.routers[0], Amount(0, 10)), Hold)
    assert world.messages == 1
    used = world.routers[0].book.rates_used(PATH, clock_ns=world.clock_ns(world.routers[0]))
    assert [limit.name for limit, _ in used] == [
        CALLS,
        LeaseName("leaf", 2, "minute"),
    ]
