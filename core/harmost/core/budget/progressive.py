"""Holds that grow with the answer: a piece ahead of what is delivered, from what is at hand, or a cut.

For answers that are visible as they come and are billed by what is visible: hidden reasoning is
billed unseen, so a whole hold is taken for it. Decides; delivers and cancels nothing.
"""

from typing import NamedTuple

from harmost.core.budget.ledger import Hold
from harmost.core.budget.price import ModelPrice, worst_case_usd_nanos

__all__ = ["Pace", "ProgressiveHold", "first_piece"]


class Pace(NamedTuple):
    """How far ahead an answer is held for, in output tokens.

    `slack` comes before the provider hears of a cut: its rate times the round trip.
    """

    piece: int = 512
    slack: int = 128


def first_piece(pace: Pace, output_tokens_max: int) -> int:
    """The output tokens that an answer is begun with."""
    return min(output_tokens_max, pace.piece + pace.slack)


class ProgressiveHold:
    """The hold of one answer, which covers `covered` output tokens at the model's dearest price.

    INVARIANT: what was delivered, and the slack after a cut, is held before it is delivered.
    """

    def __init__(
        self,
        hold: Hold,
        price: ModelPrice | None,
        pace: Pace,
        *,
        input_tokens_max: int,
        covered: int,
        output_tokens_max: int,
    ) -> None:
        """`hold` covers the input and `covered` output tokens. Without a price only tokens are held."""
        self.hold = hold
        self.covered = covered
        self._price = price
        self._pace = pace
        self._input_tokens_max = input_tokens_max
        self._output_tokens_max = output_tokens_max

    @property
    def low(self) -> bool:
        """Whether all that it may ever need is not held yet."""
        return self.covered < self._output_tokens_max

    def delivered(self, output_tokens: int) -> bool:
        """Whether the answer may go on after so many tokens; False: cut it now.

        Holds another piece where less than half of one is left ahead of the slack; where not even a
        smaller piece is to be had, goes on until only the slack is left.
        """
        pace = self._pace
        ahead = self.covered - pace.slack - output_tokens
        if self.low and ahead < pace.piece // 2:
            piece = min(pace.piece, self._output_tokens_max - self.covered)
            while piece > 0 and not self._extend(piece):
                piece //= 2
            ahead = self.covered - pace.slack - output_tokens
        if not self.low:  # the provider's own cap ends it
            return output_tokens < self._output_tokens_max
        return ahead > 0

    def _extend(self, piece: int) -> bool:
        usd_nanos = 0
        if self._price is not None:
            # Of the sum, not of the piece: rounded up once, as the attempt is settled.
            usd_nanos = self._worst(self.covered + piece) - self._worst(self.covered)
        if self.hold.extend(usd_nanos=usd_nanos, tokens=piece) is not None:
            return False
        self.covered += piece
        return True

    def _worst(self, output_tokens: int) -> int:
        assert self._price is not None
        return worst_case_usd_nanos(
            self._price,
            input_tokens_max=self._input_tokens_max,
            output_tokens_max=output_tokens,
        )
