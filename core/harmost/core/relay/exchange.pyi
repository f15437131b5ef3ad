"""One attempt's answer as it comes: provider bytes in, framed messages for the caller out.

A state machine without I/O, clock or queue; no object is made for a token but the bytes that go
out. Which attempt follows is not decided here (core/routing), nor what it costs (core/budget).
"""

from collections.abc import Callable

from harmost.core.chat import FinishReason, Part
from harmost.core.providers.codec import ProviderError
from harmost.core.usage import TokenUsage

__all__ = ["TOKEN_BYTES_MAX", "AttemptExchange", "OutputScan"]

TOKEN_BYTES_MAX: int
"""Bytes of answer that one token of the hold allows."""

class OutputScan:
    """What stands between the answer and the caller: subclass it in Python or Cython.

    It sees each admitted piece in order, and may hold back, replace or drop text. Text is UTF-8 of
    whole characters, in and out. What it raises comes out of `receive` and ends the exchange.
    """

    def pass_on(self, text: bytes) -> bytes:
        """What may go on now, perhaps nothing, now that `text` has come."""

    def end(self) -> bytes:
        """What was held back and may go, now that the answer is over; not called on failures."""

class AttemptExchange:
    """Feed it until `done`, each piece of the body once; the same bytes cut anywhere do the same.

    Memory: up to `SSE_LINE_BYTES_MAX` of an unfinished event twice over, a few hundred bytes
    usually, and the answer itself where `keep_text` asks for it.
    """

    def __init__(
        self,
        codec_name: str,
        *,
        output_tokens_max: int,
        attempt_id: str,
        step_index: int = 0,
        first_sequence: int = 0,
        shortened: bool = False,
        keep_text: bool = False,
        output_scan: OutputScan | None = None,
        grow: Callable[[int], int] | None = None,
    ) -> None:
        """`output_tokens_max`: what is reserved and asked of the provider, 1 to 2**58.

        `shortened`: the budget allowed less than the caller asked for, so "length" means the
        budget. `grow` is asked where the answer has come to so many bytes as it said last, at first
        with the first text: up to which size may it go on before it is asked again? Less than it
        is asked with: the answer is cut. Raises `NotFound` for an unknown codec.
        """

    next_sequence: int
    """Sequence number of the next message, in this exchange or after it."""

    @property
    def output_tokens_max(self) -> int:
        """The hold in tokens."""
    @property
    def done(self) -> bool:
        """Nothing more is to be read: the answer ended, failed or was cut."""
    @property
    def cut(self) -> bool:
        """We ended it, not the provider: what it bills must be asked or estimated."""
    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended, if it did and did not fail."""
    @property
    def usage(self) -> TokenUsage | None:
        """What the provider said last of what it bills."""
    @property
    def error(self) -> ProviderError | None:
        """How it failed."""
    @property
    def response_id(self) -> str:
        """The provider's own id; empty until the end."""
    @property
    def deltas(self) -> int:
        """Pieces of the answer that fit the hold."""
    @property
    def text_bytes(self) -> int:
        """Their size in UTF-8."""
    @property
    def reasoning_bytes(self) -> int:
        """How many of them show reasoning."""
    @property
    def text(self) -> str:
        """All text that went on to the caller; empty unless `keep_text`."""
    @property
    def parts(self) -> tuple[Part, ...]:
        """All that went on to the caller, in order; empty unless `keep_text`."""
    def receive(self, data: bytes) -> bytes | None:
        """Whole gRPC-framed `StreamChatResponse` messages that `data` completes; None: none.

        What follows the end is read for its usage and id only. O(bytes).
        """
    def finish(self) -> bytes | None:
        """The body is over: a failure of kind "broken", unless the answer had ended or ends with it.

        Messages as of `receive`: what a scan held back.
        """
    def stop(self) -> None:
        """Cut it here, unless it has ended already. Text that a scan holds back is dropped."""
    def fail(self, error: ProviderError) -> None:
        """End with `error`, unless it has ended already. Text that a scan holds back is dropped."""
