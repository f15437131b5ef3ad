"""One attempt's answer as it comes: what goes on to the caller, when to cut, what it used.

A state machine without I/O: provider events in, text for the caller out. Which attempt follows is
not decided here (core/routing), nor what it costs (core/budget).
"""

from collections.abc import Sequence

import msgspec

from harmost.core.chat import FinishReason
from harmost.core.providers.codec import (
    Ended,
    Event,
    ProviderError,
    TextDelta,
    UsageReported,
)
from harmost.core.usage import TokenUsage

__all__ = ["Relay", "RelayLimits"]

# No vocabulary in use reaches 16 bytes a token over a whole answer; a stream that does is not
# counted in tokens but in bytes, so that the hold bounds it whatever the provider says.
TOKEN_BYTES_MAX = 16


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`output_tokens_max`: what is reserved and asked of the provider (> 0).

    `shortened`: the budget allowed less than the caller asked for, so "length" means the budget.
    """

    output_tokens_max: int
    shortened: bool = False


class Relay:
    """Feed it until `done`. Holds the answer's text (bounded by the limits) for typed steps."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._texts: list[str] = []
        self._bytes = 0
        self._ended = False
        self.deltas = 0
        self.usage: TokenUsage | None = None
        self.finish_reason: FinishReason | None = None
        self.error: ProviderError | None = None
        self.response_id = ""

    @property
    def done(self) -> bool:
        """Nothing more is to be read: the answer ended, failed or was cut."""
        return self.finish_reason is not None or self.error is not None

    @property
    def cut(self) -> bool:
        """We ended it, not the provider: what it bills must be asked or estimated."""
        return self.finish_reason == "budget_exhausted" and not self._ended

    @property
    def text(self) -> str:
        """All that went on to the caller."""
        return "".join(self._texts)

    @property
    def text_bytes(self) -> int:
        """UTF-8 size of `text`."""
        return self._bytes

    def feed(self, events: Sequence[Event]) -> list[str]:
        """Texts to send on, in order. Events after the end are ignored."""
        texts: list[str] = []
        for event in events:
            if isinstance(event, TextDelta):
                if not self.done and event.text and self._admit(event.text):
                    texts.append(event.text)
            elif isinstance(event, UsageReported):
                self.usage = event.usage
            elif isinstance(event, Ended):
                self._end(event)
            else:
                self.fail(event)
        return texts

    def fail(self, error: ProviderError) -> None:
        """End with `error`, unless it has ended already."""
        if not self.done:
            self.error = error

    def _admit(self, text: str) -> bool:
        # INVARIANT: what was sent on fits the hold: each delta is at least one token, and
        # a token is at most TOKEN_BYTES_MAX bytes.
        size = len(text.encode())
        tokens_max = self._limits.output_tokens_max
        if self.deltas >= tokens_max or self._bytes + size > tokens_max * TOKEN_BYTES_MAX:
            self.finish_reason = "budget_exhausted"
            return False
        self.deltas += 1
        self._bytes += size
        self._texts.append(text)
        return True

    def _end(self, ended: Ended) -> None:
        self.response_id = ended.response_id
        if self.done:
            return
        self._ended = True
        shortened = ended.finish_reason == "length" and self._limits.shortened
        self.finish_reason = "budget_exhausted" if shortened else ended.finish_reason
