"""Many attempts at once in a small world of bad networks, providers and callers, from seeds.

Nothing is random but the seed: a failure names it, and `run(seed)` shows it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from answer_twin import (
    ExchangeTwin,
    anthropic_answer,
    messages_of,
    openai_answer,
    sse,
    state_of,
)

from harmost.core.limits import SSE_LINE_BYTES_MAX
from harmost.core.providers.codec import ProviderError
from harmost.core.relay.exchange import TOKEN_BYTES_MAX, AttemptExchange, OutputScan

SEEDS = 400
ATTEMPTS = 6
ERRORS = (
    ProviderError(kind="stalled", message="silence"),
    ProviderError(kind="connect_failed", message="reset"),
)
ALPHABET = ["a", " word", "\n", '"', "\\", "é", "你", "😀", "\0", "x" * 40, "data: x\n\n"]
ODD_EVENTS = [
    sse(b"nonsense"),
    sse(b""),
    sse(b"{}"),
    sse(b'{"error":{"message":"overloaded","type":"overloaded_error"}}'),
    sse(b'{"type":"error","error":{"type":"api_error","message":"x"}}'),
    sse(b'{"choices":[{"index":1,"delta":{"content":"other"}}]}'),
    sse(b'{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}'),
    sse(b'{"choices":[{"delta":{"content":"\\ud800"}}]}'),
    sse(b'{"choices":[{"delta":{"content":"last"},"finish_reason":"length"}]}'),
    sse(
        b'{"choices":[{"delta":{"content":"n"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}'
    ),
    sse(b'{"type":"content_block_delta","delta":{"text":"\xff"}}'),
    sse(b'{"type":"content_block_start","content_block":{"text":"first"}}'),
    sse(b'{"type":"message_delta","delta":{},"usage":{"input_tokens":3,"output_tokens":2}}'),
    sse(b'{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"c","function":{"name":"f"}}]}}]}'),
    sse(b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}'),
    sse(b'{"choices":[{"delta":{"tool_calls":[{"index":900}]}}]}'),
    sse(b'{"choices":[{"delta":{"reasoning_content":"hm","content":"so"}}]}'),
    sse(b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t"}}'),
    sse(b'{"type":"content_block_delta","index":1,"delta":{"partial_json":"{\\"a\\""}}'),
    sse(b'{"type":"content_block_stop","index":1}'),
    sse(b'{"type":"content_block_delta","index":2,"delta":{"thinking":"hm"}}'),
    sse(b'{"type":"content_block_delta","index":2,"delta":{"signature":"c2VhbA=="}}'),
    b": comment\n\n",
    b"\n\n",
    b"data: " + b"x" * (SSE_LINE_BYTES_MAX + 1),
]


class Shouting(OutputScan):
    """Replaces letters, and holds everything back until a space comes."""

    def __init__(self) -> None:
        self._held = ""

    def pass_on(self, text: bytes) -> bytes:
        ready, space, self._held = (self._held + text.decode()).rpartition(" ")
        return (ready + space).upper().encode()

    def end(self) -> bytes:
        held, self._held = self._held, ""
        return held.upper().encode()


@dataclass
class Attempt:
    """An exchange with its twin, what its provider will say, and what its caller got."""

    exchange: AttemptExchange
    twin: ExchangeTwin
    network: Iterator[bytes]
    tokens_max: int
    first_sequence: int
    scanned: bool
    fault: str  # how the connection ends
    received: bytes = b""
    over: bool = False
    fed: list[bytes] = field(default_factory=list)


def provider(random: Random, name: str) -> bytes:
    """What a provider sends: an answer, well or badly made."""
    texts = [
        "".join(random.choices(ALPHABET, k=random.randrange(4))) for _ in range(random.randrange(9))
    ]
    if name == "openai":
        usage = {"prompt_tokens": 5, "completion_tokens": 6} if random.random() < 0.7 else {}
        events = openai_answer(texts, random.choice(["stop", "length", "abort", "eos"]), **usage)
    else:
        usage = {"input_tokens": 5, "output_tokens": 6} if random.random() < 0.7 else {}
        events = anthropic_answer(texts, random.choice(["end_turn", "max_tokens"]), **usage)
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        events.insert(random.randrange(len(events) + 1), random.choice(ODD_EVENTS))
    if random.random() < 0.1:
        events.pop(random.randrange(len(events)))
    stream = b"".join(events)
    stream = stream.replace(b"\n", random.choice([b"\n", b"\n", b"\r\n", b"\r"]))
    if random.random() < 0.1:
        at = random.randrange(len(stream))
        stream = stream[:at] + random.randbytes(3) + stream[at + random.randrange(5) :]
    return random.choice([b"", b"", b"\xef\xbb\xbf"]) + stream


def pieces(random: Random, stream: bytes) -> Iterator[bytes]:
    """`stream` as a network hands it over."""
    size_max = max(random.choice([3, 40, 400, 4_000, 1 << 21]), len(stream) // 200)
    while stream:
        size = random.randrange(size_max) + random.choice([0, 1, 1, 1])
        yield stream[:size]
        stream = stream[size:]


def attempt(random: Random, number: int) -> Attempt:
    name = random.choice(["openai", "anthropic"])
    tokens_max = random.choice([1, 2, 5, 1000])
    scanned = random.random() < 0.3
    stream = provider(random, name)
    fault = random.choice(["", "", "", "cut short", "reset", "stall", "cancel"])
    if fault:
        stream = stream[: random.randrange(len(stream) + 1)]
    first_sequence = random.choice([0, 2, 127, 20_000])
    shortened, step_index = random.random() < 0.3, random.choice([0, 3])

    def made(
        kind: type[AttemptExchange | ExchangeTwin], **kept: bool
    ) -> AttemptExchange | ExchangeTwin:
        return kind(
            name,
            output_tokens_max=tokens_max,
            attempt_id=f"att-{number}",
            step_index=step_index,
            first_sequence=first_sequence,
            shortened=shortened,
            output_scan=Shouting() if scanned else None,
            **kept,
        )

    exchange, twin = made(AttemptExchange, keep_text=True), made(ExchangeTwin)
    assert isinstance(exchange, AttemptExchange)
    assert isinstance(twin, ExchangeTwin)
    network = pieces(random, stream)
    return Attempt(exchange, twin, network, tokens_max, first_sequence, scanned, fault)


def step(random: Random, one: Attempt) -> None:
    """The network of `one` hands over a piece, or its connection ends."""
    piece = next(one.network, None)
    if piece is not None:
        one.fed.append(piece)
        was_done = one.exchange.done
        out = one.exchange.receive(piece)
        assert out == one.twin.receive(piece)
        assert out != b""
        assert not (was_done and out), "something went out after the end"
        one.received += out or b""
        # A Router cancels when the answer is done, but bytes may be on their way already.
        one.over = one.exchange.done and random.random() < 0.5
        return
    one.over = True
    if one.fault in ("reset", "stall"):
        error = ERRORS[one.fault == "reset"]
        one.exchange.fail(error)
        one.twin.fail(error)
    elif one.fault != "cancel":
        one.exchange.finish()
        one.twin.finish()


def check(one: Attempt) -> None:
    """What must hold at any moment."""
    exchange = one.exchange
    assert state_of(exchange) == state_of(one.twin)
    messages = messages_of(one.received)
    text = "".join(message.delta.text for message in messages)
    assert exchange.text == one.twin.text == text
    # What goes out fits the hold.
    assert exchange.deltas <= one.tokens_max
    assert exchange.text_bytes <= one.tokens_max * TOKEN_BYTES_MAX
    assert len(messages) <= one.tokens_max + 1
    if not one.scanned:
        said = [
            message.delta.text
            + message.delta.reasoning.text
            + message.tool_call_delta.name
            + message.tool_call_delta.arguments_json
            for message in messages
        ]
        assert exchange.text_bytes == len("".join(said).encode())
        assert exchange.deltas == len(messages)
    # No event is lost, doubled or out of order.
    sequences = [message.sequence for message in messages]
    assert sequences == list(range(one.first_sequence, exchange.next_sequence))
    # It ends in one way.
    assert exchange.finish_reason is None or exchange.error is None
    assert exchange.done == (exchange.finish_reason is not None or exchange.error is not None)


def check_end(one: Attempt) -> None:
    """What must hold when the connection is over."""
    assert one.exchange.done or one.fault == "cancel"
    # However the bytes came, as one piece they mean the same.
    whole = AttemptExchange(
        one.twin.codec_name,
        output_tokens_max=one.tokens_max,
        attempt_id=one.twin.attempt_id,
        step_index=one.twin.step_index,
        first_sequence=one.first_sequence,
        output_scan=Shouting() if one.scanned else None,
    )
    assert (whole.receive(b"".join(one.fed)) or b"") == one.received


def run(seed: int) -> list[Attempt]:
    """One world: attempts whose networks take turns at random, until all are over."""
    random = Random(seed)
    attempts = [attempt(random, number) for number in range(ATTEMPTS)]
    running = list(attempts)
    while running:
        one = random.choice(running)
        step(random, one)
        if random.random() < 0.05 or one.over:
            check(one)
        if one.over:
            check_end(one)
            running.remove(one)
    return attempts


@pytest.mark.parametrize("first", range(0, SEEDS, 100))
def test_no_world_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + 100):
        try:
            run(seed)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


def test_the_worlds_are_not_all_alike() -> None:
    attempts = [one for seed in range(60) for one in run(seed)]
    ends = {one.exchange.finish_reason for one in attempts}
    errors = {one.exchange.error.kind for one in attempts if one.exchange.error is not None}
    assert ends >= {"stop", "length", "budget_exhausted", None}
    assert errors >= {"broken", "stalled", "connect_failed", "overloaded"}
    assert any(one.exchange.cut for one in attempts)
    assert any(one.exchange.usage is not None for one in attempts)
    assert sum(bool(one.received) for one in attempts) > len(attempts) // 3


def test_a_seed_tells_the_same_story_twice() -> None:
    assert [one.received for one in run(7)] == [one.received for one in run(7)]
