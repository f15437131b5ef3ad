"""Routers that share rates: real books and the real ledger's half, a network that loses, and a clock.

What any interval used in the end must be within a minute's worth and the rate, all Routers together.
"""

import itertools
from collections import defaultdict
from dataclasses import dataclass
from random import Random

from harmost.core.budget.escrow import Escrow
from harmost.core.budget.lease import Amounts, LeaseName, SyncRequest
from harmost.core.budget.leases import Miss
from harmost.core.budget.ledger import Hold
from harmost.core.budget.lending import EscrowCounter, RouterRow
from harmost.core.budget.nodes import Amount, BudgetLimits, BudgetPath, Unit, compile_limits
from harmost.core.budget.rate_shares import SHARE_NS
from harmost.core.budget.rated_book import RatedBook
from harmost.core.budget.rates import Rates
from harmost.core.errors import NotFound
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata

__all__ = ["MINUTE_NS", "PATH", "S_NS", "RateWorld", "Router", "Use", "keeps_the_rate", "run"]

S_NS = 10**9
MINUTE_NS = 60 * S_NS
PATH = BudgetPath("a/b")
SPENT_MAX = 60  # attempts of one at once


@dataclass
class Use:
    """What an attempt that was admitted at a time used of a rate, in the end."""

    at_ns: int
    amount: int


def keeps_the_rate(used: list[Use], per_minute: int, *, burst: int | None = None) -> bool:
    """Whether what is used in each interval is within burst + rate * length; O(n), exact.

    The most by which any interval that ends at a use passes its rate is carried on from use to use.
    """
    burst = per_minute if burst is None else burst
    over, before_ns = 0, 0  # in units * ns of a minute
    for use in sorted(used, key=lambda use: use.at_ns):
        over = max(0, over - per_minute * (use.at_ns - before_ns)) + use.amount * MINUTE_NS
        before_ns = use.at_ns
        if over > burst * MINUTE_NS:
            return False
    return True


class _NoCounters:
    """Ceilings that are all rates."""

    def named(self, name: LeaseName, at_ns: int) -> EscrowCounter | None:
        return None

    def account(self, id: int) -> EscrowCounter:
        raise NotFound(f"counter `{id}` is not known")


class Router:
    """A process: its book, its attempts, and a monotonic clock of its own."""

    def __init__(self, name: str, book: RatedBook, ahead_ns: int) -> None:
        self.name, self.book, self.ahead_ns = name, book, ahead_ns
        self.open: dict[str, tuple[Hold, dict[LeaseName, Use]]] = {}


class RateWorld:
    """Some Routers and a ledger, under `limits` at "a", and perhaps at "a/b"."""

    def __init__(self, *limits: Limit, below: tuple[Limit, ...] = (), routers: int = 3) -> None:
        self.now_ns = 10**15
        self.used: dict[LeaseName, list[Use]] = defaultdict(list)
        self.debt: dict[LeaseName, int] = defaultdict(int)
        self.kept: dict[str, RouterRow] = {}
        self.messages = 0
        self._ids = itertools.count()
        documents = {"top": (Metadata(name="top", tenant="a"), BudgetSpec(limits=limits))}
        if below:
            documents["leaf"] = (Metadata(name="leaf", tenant="a/b"), BudgetSpec(limits=below))
        self.limits: BudgetLimits = compile_limits(documents)
        self.start(rested_ns=MINUTE_NS)
        self.routers = [self.join(f"r{number}") for number in range(routers)]

    # --- The ledger -----------------------------------------------------------------------------------

    def start(self, *, rested_ns: int = 0) -> None:
        """The ledger begins, from what it kept."""
        self.rates = Rates(rested_ns=rested_ns, now_ns=self.now_ns)
        self.escrow = Escrow(_NoCounters(), self.rates)
        self.escrow.restore(self.kept.values(), (), now_ns=self.now_ns, clock_ns=self.now_ns)
        self.rates.use(self.limits.rates, now_ns=self.now_ns)

    def keep(self) -> None:
        self.kept.update({row.router: row for row in self.escrow.effects().routers})

    def take(self, name: LeaseName, amount: int) -> bool:
        """A program takes, and uses all of it."""
        rest = self.rates.rest(name, now_ns=self.now_ns)
        hold = next(self._ids)
        if not rest.take(hold, amount, now_ns=self.now_ns):
            return False
        rest.close(hold, held=amount, used=amount)
        self.used[name].append(Use(self.now_ns, amount))
        return True

    # --- Routers --------------------------------------------------------------------------------------

    def join(self, name: str) -> Router:
        book = RatedBook(name, epoch=self.escrow.register(name, now_ns=self.now_ns))
        self.keep()
        book.use(self.limits)
        return Router(name, book, ahead_ns=next(self._ids) * 977 * S_NS)

    def crash(self, router: Router) -> None:
        """kill -9; its name begins anew, and what was open used all that it held."""
        self.routers.remove(router)
        self.routers.append(self.join(router.name))

    def clock_ns(self, router: Router) -> int:
        return self.now_ns + router.ahead_ns

    def sync(self, router: Router, *, lost: bool = False, answer_lost: bool = False) -> SyncRequest:
        """One message, and what becomes of it."""
        self.messages += 1
        request = router.book.request(clock_ns=self.clock_ns(router))
        if not lost:
            self.deliver(router, request, answer_lost=answer_lost)
        return request

    def deliver(self, router: Router, request: SyncRequest, *, answer_lost: bool = False) -> None:
        answer = self.escrow.sync(request, now_ns=self.now_ns, clock_ns=self.now_ns)
        self.keep()
        if not answer_lost:
            router.book.apply(answer, clock_ns=self.clock_ns(router))

    def reserve(self, router: Router, amount: Amount, minimum: Amount | None = None) -> Hold | Miss:
        held = router.book.reserve(PATH, amount, minimum or amount, clock_ns=self.clock_ns(router))
        if isinstance(held, Hold):
            uses: dict[LeaseName, Use] = {}
            for name in self.limits.rates:
                uses[name] = Use(self.now_ns, _in_unit(held, name.unit))
                self.used[name].append(uses[name])
            router.open[f"t{next(self._ids)}"] = held, uses
        return held

    def attempt(
        self, router: Router, amount: Amount, minimum: Amount | None = None, *, rounds: int = 3
    ) -> Hold | Miss:
        """With as many messages as a Router would send."""
        held = self.reserve(router, amount, minimum)
        for _ in range(rounds):
            if isinstance(held, Hold) or held.denied:
                break
            self.sync(router)
            held = self.reserve(router, amount, minimum)
        return held

    def finish(self, router: Router, *, share: int, which: int = 0) -> None:
        """An attempt ends that used `share` percent of what it held."""
        if not router.open:
            return
        attempt_id = sorted(router.open)[which % len(router.open)]
        hold, uses = router.open.pop(attempt_id)
        used = Amounts(*(_in_unit(hold, unit) * share // 100 for unit in (1, 2)), 1)
        router.book.settle(attempt_id, hold, used)
        for name, use in uses.items():
            self.debt[name] += max(0, used[name.unit - 1] - use.amount)
            use.amount = min(use.amount, used[name.unit - 1])

    def pass_time(self, nanoseconds: int) -> None:
        self.now_ns += nanoseconds

    def tick(self, nanoseconds: int = S_NS) -> None:
        """Time passes, and every Router says what it has to say."""
        self.pass_time(nanoseconds)
        for router in self.routers:
            if router.book.wants_message(self.clock_ns(router)):
                self.sync(router)

    def check(self) -> None:
        """No interval used more than a minute's worth and the rate."""
        for name, per_minute in self.limits.rates.items():
            assert keeps_the_rate(self.used[name], per_minute), name


def run(world: RateWorld, seed: int, *, rounds: int = 12) -> RateWorld:
    """Things happen by a seed: losses, crashes, restarts, programs; then what was used is checked.

    Each round ends with everyone spending all that it gets: what must not be there is used.
    """
    random = Random(seed)
    for _ in range(rounds):
        for _ in range(random.choice((0, 1, 3, 8))):
            world.tick(random.choice((S_NS // 10, S_NS, 3 * S_NS, 8 * S_NS)))
        for _ in range(random.choice((0, 2, 20))):
            _step(world, random)
        _spend_all(world, random)
    world.check()
    return world


def _step(world: RateWorld, random: Random) -> None:
    router, what = random.choice(world.routers), random.random()
    if what < 0.3:
        amount = _amount(world, random)
        least = Amount(amount.usd_nanos // 2, amount.tokens // 2)
        world.attempt(router, amount, least, rounds=random.choice((0, 1, 2)))
    elif what < 0.5:
        world.finish(router, share=random.choice((0, 10, 60, 100)), which=random.randrange(9))
    elif what < 0.75:
        request = world.sync(router, lost=random.random() < 0.15, answer_lost=random.random() < 0.3)
        if random.random() < 0.2:  # it comes a second time
            world.deliver(router, request, answer_lost=random.random() < 0.5)
    elif what < 0.93:
        world.pass_time(
            random.choice((1, S_NS // 10, S_NS // 10, S_NS, 3 * S_NS, SHARE_NS, 13 * S_NS))
        )
    elif what < 0.95:
        name = random.choice(sorted(world.limits.rates))
        world.take(name, max(1, world.limits.rates[name] // random.choice((3, 20))))
    elif what < 0.98:
        world.start()
    else:
        world.crash(router)


def _spend_all(world: RateWorld, random: Random) -> None:
    """Everyone, or all but one, first alone, then with messages."""
    amount, rounds = _amount(world, random), random.choice((0, 1))
    for router in random.sample(world.routers, random.randint(1, len(world.routers))):
        for messages in (0, rounds):
            for _ in range(SPENT_MAX):
                if not isinstance(world.attempt(router, amount, rounds=messages), Hold):
                    break
        if random.random() < 0.3:
            world.pass_time(random.choice((S_NS // 10, S_NS, 4 * S_NS, 11 * S_NS)))


def _amount(world: RateWorld, random: Random) -> Amount:
    """From a fortieth to a quarter of each rate."""
    part, rates = random.choice((40, 25, 12, 4)), {Unit.USD_NANOS: 0, Unit.TOKENS: 0}
    for name, per_minute in world.limits.rates.items():
        rates[Unit(name.unit)] = max(1, per_minute // part)
    return Amount(rates[Unit.USD_NANOS], rates[Unit.TOKENS])


def _in_unit(hold: Hold, unit: int) -> int:
    return (hold.usd_nanos, hold.tokens, hold.requests)[unit - 1]
