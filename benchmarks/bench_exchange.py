"""What does a token cost between the provider's bytes and the caller's?

Back of the envelope: an event of 230 bytes is looked at twice (line ends, JSON) at about 1 ns a byte
and written once as 60 bytes, so 0.3 to 0.5 us; the twin decodes, builds and serialises in Python.
`bare` is the same call with a piece that completes nothing: what is not the token's.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

from _result import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from answer_twin import ExchangeTwin

from harmost.core.relay.exchange import AttemptExchange

TOKENS = 50_000
ROUNDS = 7
ATTEMPT_ID = "018f3c5e7a8b-4c2d9e1f"
EVENTS = {
    "openai": (
        b'data: {"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz","object":"chat.completion.chunk",'
        b'"created":1763837037,"model":"gpt-4o-mini-2024-07-18","system_fingerprint":"fp_0123456789",'
        b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}\n\n'
    ),
    "anthropic": (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":" token"}}\n\n'
    ),
}


class Receiver(Protocol):
    """An exchange or its twin."""

    def receive(self, data: bytes) -> bytes | None:
        """Framed messages."""
        ...


def exchange(kind: Callable[..., Receiver], name: str) -> Receiver:
    """One whose answer has begun, so that the id is known."""
    one = kind(name, output_tokens_max=10**9, attempt_id=ATTEMPT_ID)
    one.receive(EVENTS[name])
    return one


def us_per_token(one: Receiver, pieces: list[bytes], tokens: int) -> float:
    """Median CPU over ROUNDS of giving it `pieces`, which hold `tokens`."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        for piece in pieces:
            one.receive(piece)
        rounds.append((time.process_time_ns() - begin) / tokens / 1e3)
    return median(rounds)


def main() -> None:
    """Print one JSON line for each measurement."""
    for name, event in EVENTS.items():
        fast = us_per_token(exchange(AttemptExchange, name), [event] * TOKENS, TOKENS)
        slow = us_per_token(exchange(ExchangeTwin, name), [event] * (TOKENS // 10), TOKENS // 10)
        emit(f"exchange.{name}.us_per_token", fast, "us", TOKENS * ROUNDS)
        emit(f"exchange.{name}.twin_us_per_token", slow, "us", TOKENS // 10 * ROUNDS)
        emit(f"exchange.{name}.ratio_vs_twin", slow / fast, "x", TOKENS * ROUNDS)
        # A busy connection hands over many tokens at once, or cuts them anywhere.
        batches = [event * 10] * (TOKENS // 10)
        batched = us_per_token(exchange(AttemptExchange, name), batches, TOKENS)
        emit(f"exchange.{name}.batch10.us_per_token", batched, "us", TOKENS * ROUNDS)
        halves = [event[:100], event[100:]] * TOKENS
        cut = us_per_token(exchange(AttemptExchange, name), halves, TOKENS)
        emit(f"exchange.{name}.cut.us_per_token", cut, "us", TOKENS * ROUNDS)
        escaped = [event.replace(b" token", b"\\n\\u00e9\\ud83d\\ude00")] * TOKENS
        unescaped = us_per_token(exchange(AttemptExchange, name), escaped, TOKENS)
        emit(f"exchange.{name}.escaped.us_per_token", unescaped, "us", TOKENS * ROUNDS)
    bare = us_per_token(exchange(AttemptExchange, "openai"), [b"\n"] * TOKENS, TOKENS)
    emit("exchange.bare_us", bare, "us", TOKENS * ROUNDS)


if __name__ == "__main__":
    main()
