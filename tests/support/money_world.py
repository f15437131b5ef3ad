"""A small world of Routers, a ledger, a network and a provider that bills, and what must always hold.

Whoever drives it says what happens next, by name: Hypothesis in tests/core/budget/test_escrow.py, a
seed in tests/simulation. Nothing here is random. The provider's books are the truth: what they say
of a counter must at every moment be covered by what the ledger keeps there.
"""

from collections import Counter as Counts
from collections import defaultdict
from typing import Literal

import msgspec
from money_actors import Attempt, Journal, Mission, Process
from money_host import Account, LedgerHost
from money_limits import limits
from rate_world import Use, keeps_the_rate

from harmost.core.budget.lease import Amounts, Evidence, LeaseName, Posting, SyncAnswer, SyncRequest
from harmost.core.budget.leases import Miss
from harmost.core.budget.ledger import Hold
from harmost.core.budget.lending import RouterRow
from harmost.core.budget.nodes import Amount, BudgetPath, Unit
from harmost.core.budget.price import (
    compile_price,
    cost_usd_nanos,
    output_tokens_within,
    worst_case_usd_nanos,
)
from harmost.core.budget.rated_book import RatedBook
from harmost.core.errors import BudgetExhausted, RateLimited
from harmost.core.resources.kinds import Price
from harmost.core.usage import TokenUsage

__all__ = ["FATES", "PATHS", "PRICES", "ROUTERS", "S_NS", "Fate", "MoneyWorld", "Process"]

S_NS = 10**9
# A Saturday evening before the night in which Berlin's clocks go back: a day of 25 hours follows.
START_NS = 1_792_864_800 * S_NS  # 2026-10-24T18:00:00Z
ROUTERS = ("router-0", "router-1", "router-2")
PATHS = tuple(
    BudgetPath(tenant, end_user_id=user)
    for tenant, user in (("org/a", ""), ("org/a", "u"), ("org/b", ""), ("org/b", "u"))
)
Fate = Literal["arrives", "lost", "answer_lost", "twice", "late", "disk_fails"]
FATES: tuple[Fate, ...] = ("arrives", "lost", "answer_lost", "twice", "late", "disk_fails")
PRICES = (
    compile_price(Price(input="1.234567", output="2.718281")),
    compile_price(Price(input="3.000001", output="1", cache_write_1h="6.5")),
)


class MoneyWorld:
    """All of it. Methods are what can happen; `check` is what must hold after each."""

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest
        self.now_ns = START_NS
        self.clock_jump_ns = 0  # of the ledger's host
        self.host = self.new_host()
        self.processes: list[Process] = []
        self.journals: dict[tuple[str, int], Journal] = {}
        self.billed: dict[int, int] = defaultdict(int)  # by counter, since ever
        self.used: dict[LeaseName, list[Use]] = defaultdict(list)  # of rates
        self.strays: list[SyncRequest] = []
        self.attempts = 0
        self.direct: dict[str, tuple[tuple[int, ...], Amounts]] = {}
        self.scales = 100, 100
        self.lowered = False
        self.price = 0
        self.unanswered: list[str] = []
        # How often: a quiet world proves nothing.
        self.denied = self.suspended = self.parts = 0
        for name in ROUTERS:
            self.start(name)

    def new_host(self) -> LedgerHost:
        """The ledger under test."""
        return LedgerHost(
            limits(rates=True), lambda: self.now_ns + self.clock_jump_ns, lambda: self.now_ns
        )

    # --- Processes ------------------------------------------------------------------------------------

    def start(self, name: str) -> Process:
        """A new process of that name; an earlier one that still runs is a zombie from now on."""
        epoch = self.host.register(name)
        book = RatedBook(name, epoch=epoch, jitter=0.5)
        book.use(self.host.limits)
        process = Process(name, book, clock_ahead_ns=epoch * 7_777 * S_NS - START_NS)
        self.journals[name, epoch] = Journal()
        self.processes.append(process)
        return process

    def crash(self, process: Process, *, loses_journal: bool) -> None:
        """kill -9, perhaps with the disk; the next process of the name begins at once."""
        process.alive = False
        self.processes.remove(process)
        self.journals[process.name, process.book.epoch].lost |= loses_journal
        if not any(other.name == process.name for other in self.processes):
            self.start(process.name)

    def clock_ns(self, process: Process) -> int:
        """Its monotonic clock."""
        return self.now_ns + process.clock_ahead_ns

    # --- Attempts -------------------------------------------------------------------------------------

    def attempt(
        self,
        process: Process,
        where: BudgetPath,
        *,
        tokens: int,
        share: int,
        sent: bool = True,
        mission: Mission | None = None,
    ) -> Hold | Miss | None:
        """Begin one of `tokens` in and out, of which the provider will use `share` percent.

        Of a `mission`, out of what it holds; None where that is too little.
        """
        price = PRICES[self.price]
        worst = worst_case_usd_nanos(price, input_tokens_max=tokens, output_tokens_max=tokens)
        least = worst_case_usd_nanos(price, input_tokens_max=tokens, output_tokens_max=1)
        held = process.book.reserve(
            where,
            Amount(worst, 2 * tokens),
            Amount(least, tokens + 1),
            clock_ns=self.clock_ns(process),
            own=mission.hold if mission is not None else None,
        )
        if held is None:
            assert mission is not None
            assert mission.hold.usd_nanos < least, "what a mission holds is for its attempts"
            return None
        if isinstance(held, Miss):
            assert mission is None or held.limit.unit is not Unit.USD_NANOS, (
                "promised money is there"
            )
            self.denied += held.denied
            return held
        cap = output_tokens_within(price, usd_nanos=held.usd_nanos, input_tokens_max=tokens)
        usage = TokenUsage(
            input_tokens=tokens,
            cache_write_1h_input_tokens=tokens if share == 100 else 0,
            output_tokens=min(cap, held.tokens - tokens) * share // 100,
        )
        cost = Amounts(cost_usd_nanos(price, usage), usage.total_tokens, 1)
        if not self.honest:
            cost = Amounts(cost.usd_nanos * 2, cost.tokens * 2, 1)
        self.attempts += 1
        attempt = Attempt(
            f"t{self.attempts}",
            held,
            tuple(counter.id for counter in held.counters),
            Amounts(held.usd_nanos, held.tokens, held.requests),
            cost if sent else Amounts(),
            msgspec.json.encode((where, self.now_ns)),
        )
        self.journals[process.name, process.book.epoch].opened[attempt.id] = attempt
        process.in_flight[attempt.id] = attempt
        self._bill(attempt.counters, attempt.billed)
        self._use(where, attempt.billed)
        if mission is not None:
            self.parts += 1
            mission.billed += attempt.billed.usd_nanos
            assert not self.honest or mission.billed <= mission.limit, "a mission passes its limit"
        return held

    def begin_mission(self, process: Process, where: BudgetPath, usd_nanos: int) -> bool:
        """Hold `usd_nanos` for attempts to come; False: it is not there."""
        held = process.book.carve(where, usd_nanos, clock_ns=self.clock_ns(process))
        if isinstance(held, Miss):
            return False
        process.missions.append(Mission(where, held, usd_nanos))
        return True

    def end_mission(self, process: Process, which: int) -> None:
        """Give back what it did not use, though attempts of it may still run."""
        if process.missions:
            process.missions.pop(which % len(process.missions)).hold.void()

    def finish(self, process: Process, attempt: Attempt, *, journaled: bool = True) -> None:
        """The answer is over; its row may not reach the journal before a crash."""
        del process.in_flight[attempt.id]
        journal = self.journals[process.name, process.book.epoch]
        if attempt.billed == Amounts():
            process.book.void(attempt.id, attempt.hold, attempt.memo)
        else:
            process.book.settle(attempt.id, attempt.hold, attempt.billed, attempt.memo)
            for counter in attempt.hold.counters:
                process.used[counter] += attempt.billed[counter.unit - 1]
        if journaled:
            journal.closed[attempt.id] = Posting(
                attempt.id, attempt.counters, attempt.held, attempt.billed, attempt.memo
            )

    def reserve_direct(self, where: BudgetPath, *, tokens: int, share: int) -> bool:
        """A program reserves for itself and calls its model."""
        held = Amounts(tokens * 3_000, tokens, 1)
        self.attempts += 1
        attempt_id = f"d{self.attempts}"
        try:
            ids = self.host.reserve(attempt_id, where, held)
        except (BudgetExhausted, RateLimited):
            return False
        except OSError:  # perhaps it is held: who does not know gives it back
            self.unanswered.append(attempt_id)
            return False
        used = Amounts(held.usd_nanos * share // 100, tokens * share // 100, 1 if share else 0)
        self.direct[attempt_id] = (ids, used)
        self._bill(ids, used)
        self._use(where, used)
        return True

    def settle_direct(self, attempt_id: str) -> None:
        _, used = self.direct.pop(attempt_id)
        assert attempt_id in self.host.holds, "a hold that was answered is lost"
        self.host.settle(attempt_id, used)

    # --- Messages -------------------------------------------------------------------------------------

    def sync(self, process: Process, fate: Fate = "arrives") -> None:
        """One message of a Router, and what becomes of it."""
        if process.book.fenced or not process.alive:
            self._succeed(process)
            return
        request = process.book.request(clock_ns=self.clock_ns(process))
        self.strays = [*self.strays[-7:], request]
        if fate in ("lost", "late"):
            return
        self.host.fail_commit = fate == "disk_fails"
        new = request.sequence > self._kept(request.router).sequence
        try:
            answer = self.host.sync(request)
        except OSError:
            return
        if new:
            self._check_answer(request, answer)
        if fate == "answer_lost":
            return
        if fate == "twice":
            before = self.host.disk.copy()
            assert self.host.sync(request) == answer, "I8: the same message, the same answer"
            assert self.host.disk == before, "I8: a message that comes twice changes nothing"
        process.book.apply(answer, clock_ns=self.clock_ns(process))
        if fate == "twice":
            assert process.book.fenced or not process.book.apply(
                answer, clock_ns=self.clock_ns(process)
            )

    def deliver_stray(self, index: int) -> None:
        """A copy of an earlier message comes late, perhaps of an epoch that is over."""
        request = self.strays[index % len(self.strays)]
        row = self._kept(request.router)
        before = self.host.disk.copy()
        answer = self.host.sync(request)
        if request.epoch != row.epoch:
            assert answer.status == "fenced", "I9"
        if request.epoch != row.epoch or request.sequence != row.sequence + 1:
            assert self.host.disk == before, "I8, I9: what is old changes nothing"

    def prove(self, process: Process, *, resolve: int) -> None:
        """Tell the ledger what the journal proves of epochs that are over; `resolve` opens meanwhile."""
        alive = {(other.name, other.book.epoch) for other in self.processes}
        for epoch in self.host.escrow.epochs_in_suspense(process.name):
            journal = self.journals[process.name, epoch]
            if journal.lost or (process.name, epoch) in alive:
                continue  # nobody knows, or it may still be spending
            process.book.prove(self._evidence(epoch, journal, resolve))

    def _evidence(self, epoch: int, journal: Journal, resolve: int) -> Evidence:
        outstanding: dict[int, int] = defaultdict(int)
        for attempt in journal.opened.values():
            if attempt.id in journal.closed:
                continue
            if resolve:  # the provider's own books say what it billed
                resolve -= 1
                journal.closed[attempt.id] = Posting(
                    attempt.id, attempt.counters, attempt.held, attempt.billed, attempt.memo
                )
                continue
            for id, counter in zip(attempt.counters, attempt.hold.counters, strict=True):
                outstanding[id] += attempt.held[counter.unit - 1]
        return Evidence(epoch, tuple(journal.closed.values()), tuple(outstanding.items()))

    def _succeed(self, process: Process) -> None:
        """A zombie that learns of it ends; its successor has its journal from then on."""
        if process.alive:
            process.alive = False
            self.processes.remove(process)
        if not any(other.name == process.name for other in self.processes):
            self.start(process.name)

    def push(self) -> None:
        """The ledger tells Routers what they did not ask."""
        for push in self.host.pushes():
            for process in self.processes:
                if process.name == push.router:
                    process.book.told(push)

    # --- Time, people, documents ----------------------------------------------------------------------

    def pass_time(self, nanoseconds: int) -> None:
        self.now_ns += nanoseconds

    def use_limits(self, scale: int, token_scale: int) -> None:
        """Other limits from now on, for everyone."""
        self.lowered |= scale < self.scales[0] or token_scale < self.scales[1]
        self.scales = scale, token_scale
        self.host.use(limits(scale, token_scale=token_scale, rates=True))
        for process in self.processes:
            process.book.use(self.host.limits)

    def adjust(self, index: int, delta: int) -> None:
        """A person corrects a balance."""
        ids = sorted(id for id in self.host.counters.accounts if not self._rated(id))
        if not ids:
            return
        counter = self.host.counters.account(ids[index % len(ids)]).counter
        if delta >= -counter.settled:
            self.host.adjust(counter.id, delta)

    # --- What must hold -------------------------------------------------------------------------------

    def check(self) -> None:
        """I1 to I7 and I11, on everything that there is."""
        disk = self.host.disk
        left: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for lease in disk.leases.values():
            assert lease.left >= 0, "I2: no more is spent and given back than was granted"
            left[lease.key.counter][lease.suspended] += lease.left
        used: dict[int, int] = defaultdict(int)
        debt: dict[int, int] = defaultdict(int)
        held: dict[int, int] = defaultdict(int)
        for posting in disk.postings.values():
            for id in posting.counters:
                unit = self.host.counters.account(id).counter.unit - 1
                used[id] += posting.used[unit]
                debt[id] += max(0, posting.used[unit] - posting.held[unit])
        for row in disk.direct.values():
            for id in row.counters:
                held[id] += row.held[self.host.counters.account(id).counter.unit - 1]
        for account in self._accounts():
            counter = account.counter
            self.suspended += counter.suspense > 0
            id, corrected = counter.id, disk.adjusted.get(counter.id, 0)
            assert counter.leased == left[id][0], "I3"
            assert counter.suspense == left[id][1], "I3"
            assert counter.held == held[id], "I6"
            assert counter.settled == used[id] + corrected, "I6: a balance is the sum of its rows"
            assert 0 <= counter.debt <= debt[id], "I6"
            if counter.hard:
                self._check_ceiling(id, corrected)
        self._check_levels(used)
        for process in self.processes:
            self._check_process(process)

    def _check_ceiling(self, id: int, corrected: int) -> None:
        counter = self.host.counters.account(id).counter
        if self.honest:  # what a liar bills is known when its attempt settles
            covered = counter.used - corrected
            assert self.billed[id] <= covered, (
                "I4: what is billed is settled, held, lent or suspense"
            )
            assert counter.debt == 0, "I4: debt, with a provider that honours its cap"
        if not self.lowered and corrected <= 0:
            assert counter.used <= counter.limit + counter.debt, "I1"
            if self.honest and not corrected:
                assert self.billed[id] <= counter.limit, "I4: billed above the limit"

    def _check_levels(self, used: dict[int, int]) -> None:
        """I5: what an organisation paid is what its teams paid, in each unit and window."""
        sums: dict[tuple[int, str, int], list[int]] = defaultdict(lambda: [0, 0])
        for account in self._accounts():
            if account.name.budget in ("org", "a", "b"):
                # Where no ledger tells of a new window a soft ceiling's last one goes on.
                start_ns = account.bounds.start_ns if account.counter.hard else 0
                key = (account.name.unit, account.name.window, start_ns)
                sums[key][account.name.budget != "org"] += used[account.counter.id]
        assert all(above == below for above, below in sums.values()), "I5"

    def _check_process(self, process: Process) -> None:
        held: dict[int, int] = defaultdict(int)
        holds = [each.hold for each in (*process.in_flight.values(), *process.missions)]
        is_open = Counts(counter.id for hold in holds for counter in hold.counters)
        for attempt in process.in_flight.values():
            assert tuple(counter.id for counter in attempt.hold.counters) == attempt.counters, "I11"
            for counter in attempt.hold.counters:
                held[counter.id] += attempt.held[counter.unit - 1]
        for mission in process.missions:
            for counter in mission.hold.counters:
                held[counter.id] += mission.hold.usd_nanos
        for lease in process.book.every_lease():
            counter = lease.counter
            assert counter.held == held[counter.id], "I2"
            assert counter.open_holds == is_open[counter.id], "I2"
            assert counter.settled == process.used[counter], "I2"
            if counter.hard and self.honest and lease.granted:
                assert counter.available >= 0, "I2: more is held than was lent"
                assert lease.granted == (
                    counter.available + counter.held + counter.settled + lease.returned
                ), "I2"

    def _check_answer(self, request: SyncRequest, answer: SyncAnswer) -> None:
        for grant in answer.grants:
            if grant.denied:
                needed = sum(ask.needed for ask in request.asks if ask.name == grant.name)
                counter = self.host.counters.account(grant.counter).counter
                assert counter.available < needed or counter.available <= 0, "I10"

    # --- The end --------------------------------------------------------------------------------------

    def settle_everything(self) -> None:
        """All attempts end, all journals are read, lost ones are written off from the books: I10."""
        self.honest_clock()
        for attempt_id in list(self.direct):
            self.settle_direct(attempt_id)
        for attempt_id in self.unanswered:
            if attempt_id in self.host.holds:
                self.host.settle(attempt_id, Amounts())
        for process in list(self.processes):
            for attempt in list(process.in_flight.values()):
                self.finish(process, attempt)
            while process.missions:
                self.end_mission(process, 0)
        for process in list(self.processes):
            if process.book.epoch != self._kept(process.name).epoch:
                self._succeed(process)
        for process in self.processes:
            self.sync(process)
            self.sync(process)
            self.prove(process, resolve=10**6)
            self.sync(process)
            for epoch in self.host.escrow.epochs_in_suspense(process.name):
                journal = self.journals[process.name, epoch]
                process.book.prove(self._evidence(epoch, journal, 10**6))
                self.sync(process)
        # A clock that jumped ahead had leases granted for windows to come: until these have begun.
        begun_ns = max((account.bounds.start_ns for account in self._accounts()), default=0)
        self.pass_time(max(0, begun_ns - self.now_ns))
        for _ in range(45):  # what is idle goes back
            self.pass_time(S_NS)
            for process in self.processes:
                self.sync(process)
        self.check()
        for account in self._accounts():
            counter, id = account.counter, account.counter.id
            corrected = self.host.disk.adjusted.get(id, 0)
            assert (counter.held, counter.leased, counter.suspense) == (0, 0, 0), "I10"
            if self._rated(id):
                continue
            assert counter.settled - corrected == self.billed[id], (
                "the ledger is the provider's books"
            )
            assert counter.available == counter.limit + counter.debt - counter.settled, "I10"
        assert not any(process.book.owed for process in self.processes)
        self._check_every_attempt()
        for name, per_minute in self.host.limits.rates.items() if self.honest else ():
            assert keeps_the_rate(self.used[name], per_minute), "a minute uses more than its rate"

    def honest_clock(self) -> None:
        """The ledger's host has the right time again."""
        self.clock_jump_ns = 0

    def _check_every_attempt(self) -> None:
        rows = self.host.disk.postings
        for journal in self.journals.values():
            for attempt in journal.opened.values():
                if attempt.id not in rows:
                    assert attempt.billed == Amounts(), "I7: a settlement is lost"
                    continue
                row = rows[attempt.id]
                assert row.used == attempt.billed, "I7: each closes once, with the truth"
                balances = {id for id in row.counters if not self._rated(id)}
                assert balances == set(attempt.counters), "I11"

    def _rated(self, id: int) -> bool:
        """Whether a balance tells what a minute used: no Router is lent of it."""
        return self.host.counters.account(id).name in self.host.limits.rates

    def _kept(self, router: str) -> RouterRow:
        row = self.host.disk.routers.get(router)
        assert row is not None, "a registration that was answered is lost"
        return row

    def _accounts(self) -> list[Account]:
        return list(self.host.counters.accounts.values())

    def _use(self, where: BudgetPath, amounts: Amounts) -> None:
        for limit in self.host.limits.on_path(where):
            if limit.rated:
                self.used[limit.name].append(Use(self.now_ns, amounts[limit.unit - 1]))

    def _bill(self, ids: tuple[int, ...], amounts: Amounts) -> None:
        for id in ids:
            self.billed[id] += amounts[self.host.counters.account(id).counter.unit - 1]
