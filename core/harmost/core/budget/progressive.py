"""Holds that grow with the answer: a piece ahead of what is delivered, from what is at hand, or a cut.

For answers that are visible as they come and are billed by what is visible: hidden reasoning is
billed unseen, so a whole hold is taken for it. Decides; delivers and cancels nothing.

What a delivered text costs is not known before the provider says it; but no token of a text is less
than a byte, so it is taken for as many tokens as it has bytes.
"""

from collections.abc import Callable
from typing import NamedTuple

from harmost.core.budget.nodes import Amount
from harmost.core.budget.price import TOKENS_MAX, ModelPrice, worst_case_usd_nanos
from harmost.core.resources.kinds import ModelSpec, Price

__all__ = ["BYTES_MAX", "Pace", "ProgressiveHold", "bills_unseen", "first_piece"]

BYTES_MAX = 1 << 62
"""More than any answer has: all of it is held, and the provider's own cap ends it."""


class Pace(NamedTuple):
    """How far ahead an answer is held for, in output tokens.

    `slack` comes before the provider hears of a cut: its rate times the round trip.
    """

    piece: int = 512
    slack: int = 128


def bills_unseen(model: ModelSpec) -> bool:
    """Whether its document says that it reasons (a capability, or a price for it), or runs tools."""
    prices = (model.price,) if isinstance(model.price, Price) else model.price
    priced = not isinstance(prices, str) and any(price.reasoning_output for price in prices)
    return priced or "reasoning" in model.capabilities or bool(model.server_tools)


def first_piece(pace: Pace, output_tokens_max: int) -> int:
    """The output tokens that an answer is begun with."""
    return min(output_tokens_max, pace.piece + pace.slack)


class ProgressiveHold:
    """The hold of one answer, which covers `covered` output tokens at the model's dearest price.

    INVARIANT: what was delivered, and the slack after a cut, is held before it is delivered.
    """

    def __init__(
        self,
        extend: Callable[[Amount], bool],
        price: ModelPrice | None,
        pace: Pace,
        *,
        input_tokens_max: int,
        covered: int,
        output_tokens_max: int,
    ) -> None:
        """`covered` output tokens are held, and the input. Without a price only tokens are.

        `extend` holds so much more, all of it or nothing, and says whether it did.
        """
        self.covered = covered
        self._extend_by = extend
        self._price = price
        self._pace = pace
        self._input_tokens_max = input_tokens_max
        self._output_tokens_max = min(output_tokens_max, TOKENS_MAX)

    @property
    def low(self) -> bool:
        """Whether all that it may ever need is not held yet."""
        return self.covered < self._output_tokens_max

    def reach(self, text_bytes: int) -> int:
        """The size up to which an answer of `text_bytes` may go on; ask again there. Less: cut it now.

        Holds more where less than half of a piece is left ahead of the slack; where only less is to be
        had, that; where nothing is, it goes on until only the slack is left, asking now and then.
        """
        piece = self._pace.piece
        if self._ahead(text_bytes) < piece - piece // 2:
            self._hold(piece - self._ahead(text_bytes))
        if not self.low:
            return BYTES_MAX
        ahead = self._ahead(text_bytes)
        if ahead > piece // 2:
            return text_bytes + ahead - piece // 2
        return text_bytes + min(ahead, 1 + piece // 16)

    def whole(self) -> bool:
        """Hold all that the answer may come to; False: there is less, and some of it may be held."""
        self._hold(self._output_tokens_max - self.covered)
        return not self.low

    def _ahead(self, text_bytes: int) -> int:
        return self.covered - self._pace.slack - text_bytes

    def _hold(self, tokens: int) -> None:
        """Hold `tokens` more, or the most of it that is to be had. Up to 2 log2 `tokens` asks."""
        left = piece = min(tokens, self._output_tokens_max - self.covered)
        while piece > 0:
            if self._extend(piece):
                left -= piece
                piece = min(piece, left)
            else:
                piece //= 2

    def _extend(self, piece: int) -> bool:
        usd_nanos = 0
        if self._price is not None:
            # Of the sum, not of the piece: rounded up once, as the attempt is settled.
            usd_nanos = self._worst(self.covered + piece) - self._worst(self.covered)
        if not self._extend_by(Amount(usd_nanos, piece)):
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
