"""The hold of an answer that grows as it comes: out of leases, told to the journal. Never awaits.

core/budget/progressive.py decides by how much; the exchange asks as text comes.
"""

from harmost.core.audit.rows import AttemptGrown
from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import ModelPrice
from harmost.core.budget.progressive import Pace, ProgressiveHold
from harmost.core.errors import HarmostError
from harmost.services.journal.journal import Journal
from harmost.services.router.budget import BudgetClient, Held

__all__ = ["PACE", "Growth"]

PACE = Pace()


class Growth:
    """Begins with `held`, which covers the input and `covered` output tokens."""

    def __init__(
        self,
        attempt_id: str,
        held: Held,
        *,
        budget: BudgetClient,
        journal: Journal,
        price: ModelPrice | None,
        input_tokens_max: int,
        covered: int,
        output_tokens_max: int,
    ) -> None:
        self._attempt_id = attempt_id
        self._journal = journal
        self._source = _Source(attempt_id, held, budget)
        self._hold = ProgressiveHold(
            self._source.extend,
            price,
            PACE,
            input_tokens_max=input_tokens_max,
            covered=covered,
            output_tokens_max=output_tokens_max,
        )

    @property
    def held(self) -> Held:
        """All that is held by now."""
        return self._source.held

    def reach(self, text_bytes: int) -> int:
        """The size up to which the answer may go on, now that it comes to `text_bytes`; 0: cut it."""
        before = self.held
        reach = self._hold.reach(text_bytes)
        return reach if self._told(before) else 0

    def whole(self) -> bool:
        """Hold all that the answer may come to: its provider may go on unseen. False: cut it."""
        before = self.held
        return self._hold.whole() and self._told(before)

    def _told(self, before: Held) -> bool:
        """Whether the journal knows what is held: what it does not know, a recovery cannot pay."""
        amount = self.held.amount
        if self.held is before:
            return True
        try:
            self._journal.append(AttemptGrown(self._attempt_id, amount.usd_nanos, amount.tokens))
        except HarmostError:
            return False
        return True


class _Source:
    """Where more is held. An object of its own: a growth that its hold held would be a cycle."""

    def __init__(self, attempt_id: str, held: Held, budget: BudgetClient) -> None:
        self.held = held
        self._attempt_id = attempt_id
        self._budget = budget

    def extend(self, more: Amount) -> bool:
        """Hold so much more, all of it or nothing; whether it was."""
        held = self._budget.extend(self._attempt_id, self.held, more)
        if held is None:
            return False
        self.held = held
        return True
