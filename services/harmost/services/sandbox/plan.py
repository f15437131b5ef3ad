"""Decides how one request is answered: what is said, how long it takes, where it breaks. No I/O."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from harmost.services.sandbox.knobs import Knobs
from harmost.services.sandbox.shape import Answer, Ask
from harmost.services.sandbox.text import TOKEN_BYTES, lognormal, tokens_of, words

__all__ = ["Plan", "plan"]

_OUTPUT_TOKENS_MAX = 1_000_000
# A table of gaps as factors of their median: drawing one for each token would cost more than it.
_GAPS = 1_024


@dataclass(frozen=True)
class Plan:
    """One answer to be. `text` is all that will be written: shorter where it stalls or breaks."""

    answer: Answer
    input_tokens: int
    output_tokens: int  # that will be written
    text: bytes
    chunk_tokens: int
    ttft_s: float
    gap_s: float  # median between two chunks
    gap_factors: Sequence[float]
    stalls: bool
    breaks: bool

    def pieces(self) -> list[bytes]:
        """`text` in chunks, cut between characters."""
        size = self.chunk_tokens * TOKEN_BYTES
        if self.text.isascii():
            return [self.text[i : i + size] for i in range(0, len(self.text), size)]
        cuts = [_boundary(self.text, i) for i in range(0, len(self.text), size)]
        return [self.text[i:j] for i, j in zip(cuts, [*cuts[1:], len(self.text)], strict=True)]

    def time_s(self) -> float:
        """From the first byte asked to the last byte written, roughly."""
        return self.ttft_s + self.gap_s * (self.output_tokens / self.chunk_tokens)


def plan(ask: Ask, knobs: Knobs, *, attempt_id: str, now_s: int) -> Plan:
    """The answer to `ask`. The same request has the same text, length and latencies."""
    seed, prompt_bytes = ask.seed, 0
    seed = zlib.crc32(ask.model.encode(), seed & 0xFFFFFFFF)
    for prompt in ask.texts:
        data = prompt.encode()
        prompt_bytes += len(data)
        seed = zlib.crc32(data, seed)
    text, cut = _text(ask, knobs, seed)
    meant = tokens_of(len(text))
    stops = [n for n in (knobs.stall_after, knobs.break_after) if n is not None and n <= meant]
    written = min(stops, default=meant)
    input_tokens = tokens_of(prompt_bytes)
    answer = Answer(
        attempt_id=attempt_id,
        model=ask.model,
        created_s=now_s,
        cut=cut,
        usage=_usage(ask, knobs, input_tokens=input_tokens, output_tokens=meant),
        tool=knobs.tool or "",
        data=ask.data,
    )
    return Plan(
        answer=answer,
        input_tokens=input_tokens,
        output_tokens=written,
        text=text[: _boundary(text, written * TOKEN_BYTES)],
        chunk_tokens=knobs.chunk_tokens,
        ttft_s=lognormal(seed ^ 1, median=knobs.ttft_ms, sigma=knobs.latency_sigma) / 1000,
        gap_s=knobs.token_ms * knobs.chunk_tokens / 1000,
        gap_factors=_factors(knobs.latency_sigma),
        stalls=bool(stops) and written == knobs.stall_after,
        breaks=bool(stops) and written == knobs.break_after,
    )


def _text(ask: Ask, knobs: Knobs, seed: int) -> tuple[bytes, bool]:
    """The whole answer, and whether the caller's maximum cut it."""
    output_tokens_max = _OUTPUT_TOKENS_MAX if knobs.ignore_max else ask.output_tokens_max
    if knobs.json is not None or knobs.tool:
        text = (knobs.json or "{}").encode()
        end = _boundary(text, output_tokens_max * TOKEN_BYTES)
        return text[:end], end < len(text)
    tokens = knobs.output_tokens
    if tokens is None:
        drawn = lognormal(seed, median=knobs.output_median, sigma=knobs.output_sigma)
        tokens = max(1, round(min(drawn, _OUTPUT_TOKENS_MAX)))
    return words(seed, min(tokens, output_tokens_max)), tokens > output_tokens_max


def _usage(
    ask: Ask, knobs: Knobs, *, input_tokens: int, output_tokens: int
) -> tuple[int, int] | None:
    """What is reported, which is the truth unless told to lie."""
    if knobs.no_usage or (ask.stream and not ask.usage_asked):
        return None
    if knobs.lie_usage is None:
        return input_tokens, output_tokens
    more, factor = knobs.lie_usage
    return round(input_tokens * factor), max(0, round((output_tokens + more) * factor))


def _boundary(text: bytes, at: int) -> int:
    """The last place up to `at` that is not inside a character."""
    at = min(at, len(text))
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


_factors_by_sigma: dict[float, Sequence[float]] = {}


def _factors(sigma: float) -> Sequence[float]:
    if sigma not in _factors_by_sigma and len(_factors_by_sigma) < 16:
        _factors_by_sigma[sigma] = tuple(
            lognormal(i, median=1.0, sigma=sigma) for i in range(_GAPS)
        )
    return _factors_by_sigma.get(sigma, (1.0,))
