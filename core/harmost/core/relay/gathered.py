"""One attempt's answer that comes whole: vectors. Asked and read like an `AttemptExchange`.

A state machine without I/O, clock or queue. Nothing goes on to the caller before all of it is sound,
so whatever is wrong with it is a failure before the first token, and another model may follow.
"""

from harmost.core.chat import FinishReason, Part
from harmost.core.limits import EMBED_ANSWER_BYTES_MAX
from harmost.core.providers.codec import ProviderError
from harmost.core.providers.embed import EmbedCodec, Embedded, EmbedRequest
from harmost.core.providers.failures import broken
from harmost.core.usage import TokenUsage

__all__ = ["GatheredExchange"]


class GatheredExchange:
    """Feed it until `done`, each piece of the body once. Memory: the body, to its bound."""

    cut = False
    deltas = 0
    text_bytes = 0
    reasoning_bytes = 0
    text = ""
    parts: tuple[Part, ...] = ()

    def __init__(self, codec: EmbedCodec, request: EmbedRequest, *, first_sequence: int) -> None:
        self._codec, self._request = codec, request
        self._body = bytearray()
        self.next_sequence = first_sequence
        self.vectors: tuple[bytes, ...] = ()
        self.finish_reason: FinishReason | None = None
        self.usage: TokenUsage | None = None
        self.error: ProviderError | None = None
        self.response_id = ""

    @property
    def done(self) -> bool:
        """Nothing more is to be read: the answer is there, or failed."""
        return self.finish_reason is not None or self.error is not None

    def receive(self, data: bytes) -> bytes | None:
        """Keep `data`; nothing goes on."""
        if self.done:
            return None
        if len(self._body) + len(data) > EMBED_ANSWER_BYTES_MAX:
            self.fail(broken(f"the answer is larger than {EMBED_ANSWER_BYTES_MAX} bytes"))
        else:
            self._body += data
        return None

    def finish(self) -> None:
        """The body is over: read it. O(bytes)."""
        if self.done:
            return
        answer = self._codec.answer(bytes(self._body), self._request)
        self._body.clear()
        if not isinstance(answer, Embedded):
            self.error = answer
            return
        self.vectors, self.usage = answer.vectors, answer.usage
        self.response_id = answer.response_id
        self.finish_reason = "stop"

    def fail(self, error: ProviderError) -> None:
        """End with `error`, unless it has ended already."""
        if not self.done:
            self.error = error
            self._body.clear()

    def stop(self) -> None:
        """Half of it is nothing: there is nowhere to cut."""
