"""I1 to I12 of leases: Hypothesis drives Routers, a ledger, a network and a provider that bills.

The invariants stand in tests/support/money_world.py and are checked after each step. A second world
has a provider that lies: there, and only there, debt appears, and it is told.
"""

from typing import Any

import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from money_seed import run
from money_world import FATES, PATHS, PRICES, ROUTERS, S_NS, Fate, MoneyWorld, Process

from harmost.core.budget.leases import Miss
from harmost.core.budget.nodes import BudgetPath
from harmost.core.budget.price import cost_usd_nanos
from harmost.core.usage import TokenUsage

SEEDS = effort(40, ci=200, nightly=10_000)


class MoneyMachine(RuleBasedStateMachine):
    """What can happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = MoneyWorld()

    def process(self, index: int) -> Process:
        return self.world.processes[index % len(self.world.processes)]

    @rule(
        who=st.integers(0, 4),
        path=st.sampled_from(PATHS),
        tokens=st.sampled_from((1, 10, 100, 300)),
        share=st.integers(0, 100),
        sent=st.booleans(),
        asks=st.booleans(),
    )
    def attempt(
        self, who: int, path: BudgetPath, tokens: int, share: int, sent: bool, asks: bool
    ) -> None:
        process = self.process(who)
        held = self.world.attempt(process, path, tokens=tokens, share=share, sent=sent)
        if asks and isinstance(held, Miss) and not held.denied:
            self.world.sync(process)
            if process.alive:
                self.world.attempt(process, path, tokens=tokens, share=share, sent=sent)

    @rule(
        who=st.integers(0, 4),
        path=st.sampled_from(PATHS),
        usd_nanos=st.sampled_from((1, 50_000, 800_000, 10**12)),
    )
    def mission(self, who: int, path: BudgetPath, usd_nanos: int) -> None:
        process = self.process(who)
        if not self.world.begin_mission(process, path, usd_nanos):
            self.world.sync(process)
            if process.alive:
                self.world.begin_mission(process, path, usd_nanos)

    @rule(
        who=st.integers(0, 4),
        which=st.integers(0, 5),
        tokens=st.sampled_from((1, 10, 100)),
        share=st.integers(0, 100),
    )
    def attempt_of_a_mission(self, who: int, which: int, tokens: int, share: int) -> None:
        process = self.process(who)
        if process.missions:
            mission = process.missions[which % len(process.missions)]
            self.world.attempt(process, mission.where, tokens=tokens, share=share, mission=mission)

    @rule(who=st.integers(0, 4), which=st.integers(0, 5))
    def mission_ends(self, who: int, which: int) -> None:
        self.world.end_mission(self.process(who), which)

    @rule(who=st.integers(0, 4), which=st.integers(0, 50), journaled=st.booleans())
    def finish(self, who: int, which: int, journaled: bool) -> None:
        process = self.process(who)
        if process.in_flight:
            ids = sorted(process.in_flight)
            self.world.finish(
                process, process.in_flight[ids[which % len(ids)]], journaled=journaled
            )

    @rule(who=st.integers(0, 4), fate=st.sampled_from(FATES))
    def sync(self, who: int, fate: Fate) -> None:
        self.world.sync(self.process(who), fate)

    @precondition(lambda self: self.world.strays)
    @rule(index=st.integers(0, 7))
    def late(self, index: int) -> None:
        self.world.deliver_stray(index)

    @rule()
    def push(self) -> None:
        self.world.push()

    @rule(tenths=st.sampled_from((1, 10, 25, 400, 900, 36_000, 300_000)))
    def time(self, tenths: int) -> None:
        self.world.pass_time(tenths * S_NS // 10)

    @rule(days=st.integers(-1, 1))
    def clock_jumps(self, days: int) -> None:
        self.world.clock_jump_ns = days * 86_400 * S_NS

    @rule()
    def expire(self) -> None:
        self.world.host.expire()

    @rule(who=st.integers(0, 4), loses_journal=st.booleans())
    def crash(self, who: int, loses_journal: bool) -> None:
        self.world.crash(self.process(who), loses_journal=loses_journal)

    @rule(name=st.sampled_from(ROUTERS))
    def zombie(self, name: str) -> None:
        if len(self.world.processes) < 6:
            self.world.start(name)

    @rule(who=st.integers(0, 4), resolve=st.integers(0, 3))
    def prove(self, who: int, resolve: int) -> None:
        self.world.prove(self.process(who), resolve=resolve)

    @rule()
    def ledger_restarts(self) -> None:
        self.world.host.restart()

    @rule(scale=st.sampled_from((10, 50, 100, 300)), tokens=st.sampled_from((20, 100, 300)))
    def limits(self, scale: int, tokens: int) -> None:
        self.world.use_limits(scale, tokens)

    @rule(which=st.integers(0, 60), delta=st.integers(-1_000_000, 1_000_000))
    def adjust(self, which: int, delta: int) -> None:
        self.world.adjust(which, delta)

    @rule(price=st.integers(0, 1))
    def price(self, price: int) -> None:
        self.world.price = price

    @rule(path=st.sampled_from(PATHS), tokens=st.integers(1, 200), share=st.integers(0, 100))
    def reserve_directly(self, path: BudgetPath, tokens: int, share: int) -> None:
        self.world.reserve_direct(path, tokens=tokens, share=share)

    @precondition(lambda self: self.world.direct)
    @rule(which=st.integers(0, 20))
    def settle_directly(self, which: int) -> None:
        ids = sorted(self.world.direct)
        self.world.settle_direct(ids[which % len(ids)])

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle_everything()


TestMoney = MoneyMachine.TestCase
TestMoney.settings = settings(
    max_examples=effort(20, ci=200, nightly=10_000),
    stateful_step_count=effort(50, ci=100, nightly=100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.timeout(3_600)
def test_what_seeds_make_happen_keeps_every_invariant() -> None:
    for seed in range(SEEDS):
        try:
            run(MoneyWorld(), seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: run(MoneyWorld(), {seed})") from error


def test_a_provider_that_bills_twice_its_cap_makes_debt_that_is_told() -> None:
    debts = 0
    for seed in range(20):
        world = MoneyWorld(honest=False)
        run(world, seed)
        owed = {
            account.counter.id: account.counter.debt
            for account in world.host.counters.accounts.values()
        }
        told: dict[int, int] = dict.fromkeys(owed, 0)
        for debt in world.host.debts:
            assert debt.above_hold > 0
            told[debt.counter] += debt.above_hold
        # A correction that gives back repays debt first: no more than was told is owed.
        assert all(owed[id] <= told[id] for id in owed)
        debts += sum(owed.values())
    assert debts > 0


def test_an_honest_provider_is_never_told_of() -> None:
    for seed in range(20):
        assert not any(debt.above_hold for debt in run(MoneyWorld(), seed).host.debts), seed


def test_the_worlds_are_not_idle() -> None:
    """A simulation in which nothing happens holds every invariant."""
    seen: dict[str, int] = dict.fromkeys(("rows", "denied", "suspense", "parts"), 0)
    for seed in range(20):
        world = run(MoneyWorld(), seed)
        seen["rows"] += len(world.host.disk.postings)
        seen["denied"] += world.denied
        seen["suspense"] += world.suspended
        seen["parts"] += world.parts
    assert seen["rows"] > 200
    assert seen["denied"] > 20
    assert seen["suspense"] > 20
    assert seen["parts"] > 20


tokens = st.integers(0, 10**6)


@given(tokens, tokens, tokens, st.sampled_from(PRICES))
@settings(max_examples=effort(200, ci=2_000, nightly=100_000), deadline=None)
def test_a_cost_is_one_number_and_grows_with_tokens(
    read: int, written: int, more: int, price: Any
) -> None:
    """I12: the same at every level, monotone, and additive but for one nanodollar."""
    usage = TokenUsage(input_tokens=read, output_tokens=written)
    other = TokenUsage(input_tokens=more)
    cost = cost_usd_nanos(price, usage)
    assert cost == cost_usd_nanos(price, usage)
    assert cost <= cost_usd_nanos(price, usage + other)
    assert 0 <= cost + cost_usd_nanos(price, other) - cost_usd_nanos(price, usage + other) <= 1
