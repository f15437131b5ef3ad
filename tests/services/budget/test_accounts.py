"""The accounts over a real file, against a plain dictionary: random calls, failures and restarts."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harmost.core.budget.nodes import Amount, BudgetLimits, BudgetPath, compile_limits
from harmost.core.errors import BudgetExhausted, Conflict, Forbidden, NotFound
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata
from harmost.services.budget.accounts import Accounts
from harmost.services.budget.ledger_file import LedgerFile
from harmost.services.budget.requests import Held, Posted, Reservation, Settlement

HOUR_NS = 3_600 * 10**9
TENANTS = ("acme/left", "acme/right")


@dataclass
class Attempt:
    """What a dictionary knows of an attempt. `used` None: open; `voided`: given back."""

    tenant: str
    hour: int
    asked: Reservation
    answer: Held
    used: int | None = None
    voided: bool = False
    posted: Posted | None = None


def limits_of(parent: int) -> BudgetLimits:
    spec = {
        "parent": ("acme", Limit(window="hour", tokens=parent)),
        "left": ("acme/left", Limit(window="hour", tokens=60)),
        "right": ("acme/right", Limit(window="hour", tokens=10**6, enforcement="soft")),
    }
    return compile_limits(
        {
            name: (Metadata(name=name, tenant=tenant), BudgetSpec(limits=(limit,)))
            for name, (tenant, limit) in spec.items()
        }
    )


attempts = st.integers(0, 12).map("a{}".format)
amounts = st.sampled_from([0, 7, 20, 45])


class AccountsMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.file = LedgerFile(self.directory / "budget.db")
        self.hour = 1_000
        self.accounts = Accounts(self.file, now_ns=self.now_ns)
        self.limits = limits_of(100)
        self.parent = 100
        self.known: dict[str, Attempt] = {}

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            shutil.rmtree(self.directory)

    @property
    def now_ns(self) -> int:
        return self.hour * HOUR_NS

    def begin(self) -> Accounts:
        self.accounts.use(self.limits)
        self.file.begin()
        return self.accounts

    def end(self) -> None:
        self.accounts.save()
        self.file.commit()
        self.accounts.tidy(self.now_ns)

    def sums(self, hour: int, *tenants: str) -> tuple[int, int, int]:
        """Settled, held and debt, attempt by attempt."""
        here = [
            each
            for each in self.known.values()
            if (each.hour, each.tenant in tenants) == (hour, True)
        ]
        closed = [each for each in here if each.used is not None]
        settled = sum(each.used or 0 for each in closed)
        held = sum(
            each.answer.amount.tokens for each in here if each.used is None and not each.voided
        )
        debt = sum(max(0, (each.used or 0) - each.answer.amount.tokens) for each in closed)
        return settled, held, debt

    def room(self, tenant: str) -> int:
        def left(limit: int, *tenants: str) -> int:
            settled, held, debt = self.sums(self.hour, *tenants)
            return limit + debt - settled - held

        above = left(self.parent, *TENANTS)
        return min(above, left(60, tenant)) if tenant == "acme/left" else above

    @rule(attempt_id=attempts, tenant=st.sampled_from(TENANTS), asked=amounts, least=amounts)
    def reserve(self, attempt_id: str, tenant: str, asked: int, least: int) -> None:
        least = min(asked, least)
        wanted = Reservation(
            attempt_id, BudgetPath(tenant), "m", Amount(0, asked), Amount(0, least)
        )
        known, room = self.known.get(attempt_id), self.room(tenant)

        def call() -> Held:
            return self.begin().reserve(wanted, within="", now_ns=self.now_ns)

        if known is not None:
            if (known.asked, known.posted) == (wanted, None):
                assert call() == known.answer
            else:
                with pytest.raises(Conflict):
                    call()
        elif asked and room < least:
            with pytest.raises(BudgetExhausted):
                call()
        else:
            answer = call()
            assert answer.amount.tokens == (min(asked, room) if asked else 0)
            self.known[attempt_id] = Attempt(tenant, self.hour, wanted, answer)
        self.end()

    @rule(attempt_id=attempts, used=amounts)
    def settle(self, attempt_id: str, used: int) -> None:
        known = self.known.get(attempt_id)
        settlement = Settlement(attempt_id, Amount(0, used))

        def call() -> Posted:
            return self.begin().settle(settlement, within="", now_ns=self.now_ns)

        if known is None:
            with pytest.raises(NotFound):
                call()
        elif known.voided or known.used not in (None, used):
            with pytest.raises(Conflict):
                call()
        else:
            posted = call()
            assert known.posted in (None, posted)
            known.used, known.posted = used, posted
        self.end()

    @rule(attempt_id=attempts)
    def void(self, attempt_id: str) -> None:
        known = self.known.get(attempt_id)

        def call() -> Posted:
            return self.begin().void(attempt_id, within="", now_ns=self.now_ns)

        if known is None:
            with pytest.raises(NotFound):
                call()
        elif known.used is not None:
            with pytest.raises(Conflict):
                call()
        else:
            posted = call()
            assert known.posted in (None, posted)
            known.voided, known.posted = True, posted
        self.end()

    @rule(attempt_id=attempts, asked=amounts)
    def fail_to_commit(self, attempt_id: str, asked: int) -> None:
        """What a full disk does after the accounts have changed: all of it is as it was."""
        accounts = self.begin()
        for attempt in (attempt_id, "never"):
            wanted = Reservation(attempt, BudgetPath("acme/left"), "m", Amount(0, asked))
            try:
                accounts.reserve(wanted, within="", now_ns=self.now_ns)
                accounts.settle(Settlement(attempt, Amount(0, 5)), within="", now_ns=self.now_ns)
            except (BudgetExhausted, Conflict):
                pass
        accounts.save()
        self.file.roll_back()
        self.accounts = Accounts(self.file, now_ns=self.now_ns)

    @rule()
    def restart(self) -> None:
        self.file.close()
        self.file = LedgerFile(self.directory / "budget.db")
        self.accounts = Accounts(self.file, now_ns=self.now_ns)

    @rule(hours=st.sampled_from([-1, 1]))
    def move_the_clock(self, hours: int) -> None:
        self.hour += hours

    @rule(parent=st.sampled_from([40, 100]))
    def change_the_limit(self, parent: int) -> None:
        self.parent, self.limits = parent, limits_of(parent)

    @invariant()
    def every_balance_is_the_sum_of_its_attempts(self) -> None:
        self.accounts.use(self.limits)
        for hour in {self.hour, *(each.hour for each in self.known.values())}:
            states = self.accounts.states(self.limits.all, now_ns=hour * HOUR_NS)
            found = {
                state.limit.budget: (state.settled, state.held, state.debt) for state in states
            }
            assert found == {
                "parent": self.sums(hour, *TENANTS),
                "left": self.sums(hour, "acme/left"),
                "right": self.sums(hour, "acme/right"),
            }

    @invariant()
    def everything_adds_up(self) -> None:
        self.accounts.verify()


TestAccounts = AccountsMachine.TestCase
TestAccounts.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_who_reserved_is_known_after_a_restart(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "budget.db")
    file.begin()
    accounts = Accounts(file, now_ns=HOUR_NS)
    accounts.use(compile_limits({}))
    wanted = Reservation("a", BudgetPath("acme"), "m", Amount(1, 1))
    accounts.reserve(wanted, within="", now_ns=HOUR_NS)
    accounts.save()
    file.commit()
    with pytest.raises(Forbidden, match="only who reserved it"):
        Accounts(file, now_ns=HOUR_NS).void("a", within="acme", now_ns=HOUR_NS)
    file.close()
