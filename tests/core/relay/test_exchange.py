"""One attempt's answer: what goes on and in which bytes, when it is cut, and how it ended."""

import json

import pytest
from answer_twin import (
    ExchangeTwin,
    anthropic_answer,
    anthropic_delta,
    delta_message,
    framed,
    messages_of,
    openai_answer,
    openai_delta,
    sse,
    state_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.chat import Reasoning, Text, ToolCall
from harmost.core.errors import NotFound
from harmost.core.limits import SSE_LINE_BYTES_MAX
from harmost.core.providers.codec import ProviderError, ReasoningDelta, ToolCallDelta
from harmost.core.relay.exchange import TOKEN_BYTES_MAX, AttemptExchange, OutputScan
from harmost.core.usage import TokenUsage

STALLED = ProviderError(kind="stalled", message="no token within 5 ms")
ENDS = {"openai": "stop", "anthropic": "end_turn"}
LENGTH = {"openai": "length", "anthropic": "max_tokens"}


@pytest.fixture(params=["openai", "anthropic"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def exchange(
    name: str = "openai",
    *,
    tokens_max: int = 100,
    shortened: bool = False,
    output_scan: OutputScan | None = None,
) -> AttemptExchange:
    return AttemptExchange(
        name,
        output_tokens_max=tokens_max,
        attempt_id="att-1",
        shortened=shortened,
        keep_text=True,
        output_scan=output_scan,
    )


def answer(name: str, *texts: str, finish: str = "") -> bytes:
    return b"".join(events(name, *texts, finish=finish))


def events(name: str, *texts: str, finish: str = "") -> list[bytes]:
    finish = finish or ENDS[name]
    if name == "openai":
        return openai_answer(texts, finish, prompt_tokens=9, completion_tokens=4)
    return anthropic_answer(texts, finish, input_tokens=9, output_tokens=4)


def delta(name: str, text: str) -> bytes:
    return sse(openai_delta(text) if name == "openai" else anthropic_delta(text))


def texts_of(out: bytes | None) -> list[str]:
    return [message.delta.text for message in messages_of(out or b"")]


def test_text_goes_on_in_order_and_is_kept(name: str) -> None:
    one = exchange(name)
    assert texts_of(one.receive(answer(name, "a", "", "Grüße", "\n"))) == ["a", "Grüße", "\n"]
    one.finish()
    assert (one.text, one.deltas, one.text_bytes) == ("aGrüße\n", 3, 9)
    assert (one.done, one.cut, one.finish_reason, one.error) == (True, False, "stop", None)
    assert one.usage == TokenUsage(input_tokens=9, output_tokens=4)
    assert one.response_id in ("chatcmpl-1", "msg_1")


def test_text_is_not_kept_unless_asked_for(name: str) -> None:
    one = AttemptExchange(name, output_tokens_max=9, attempt_id="a")
    one.receive(answer(name, "a"))
    assert (one.text, one.text_bytes) == ("", 1)


NUMBERS = [0, 1, 127, 128, 16_383, 16_384, 2**31 - 1]


@pytest.mark.parametrize("sequence", [*NUMBERS, 2**31, 2**62])
@pytest.mark.parametrize("step_index", NUMBERS)
def test_messages_are_those_that_protobuf_writes(sequence: int, step_index: int) -> None:
    for attempt_id in ("", "a", "é" * 70, "x" * 20_000):
        one = AttemptExchange(
            "openai",
            output_tokens_max=1_000_000,
            attempt_id=attempt_id,
            step_index=step_index,
            first_sequence=sequence,
        )
        expected = b""
        sent = b""
        for index, text in enumerate(["x", "é", "x" * 127, "x" * 128, "x" * 70_000, "😀"]):
            sent += one.receive(sse(openai_delta(text))) or b""
            expected += framed(
                delta_message(
                    text, sequence=sequence + index, attempt_id=attempt_id, step_index=step_index
                )
            )
        assert sent == expected
        assert one.next_sequence == sequence + 6


def openai_chunk(**delta: object) -> bytes:
    return sse(json.dumps({"choices": [{"delta": delta}]}).encode())


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
@pytest.mark.parametrize("index", [0, 1, 127])
def test_tool_calls_and_reasoning_are_messages_that_protobuf_writes(size: int, index: int) -> None:
    text = "é" * size
    one = AttemptExchange(
        "openai", output_tokens_max=1_000_000, attempt_id="a", step_index=3, first_sequence=200
    )
    call = {"index": index, "id": text, "function": {"name": text, "arguments": text}}
    sent = one.receive(openai_chunk(tool_calls=[call])) or b""
    sent += one.receive(openai_chunk(reasoning_content=text + "x")) or b""
    pieces = (
        ToolCallDelta(index=index, call_id=text, name=text, arguments=text),
        ReasoningDelta(text=text + "x"),
    )
    assert sent == b"".join(
        framed(delta_message(piece, sequence=200 + number, attempt_id="a", step_index=3))
        for number, piece in enumerate(pieces)
    )


def test_a_seal_goes_on_and_is_no_token() -> None:
    one = exchange("anthropic")
    seal = {"type": "signature_delta", "signature": "c2VhbA=="}
    event = {"type": "content_block_delta", "index": 0, "delta": seal}
    (message,) = messages_of(one.receive(sse(json.dumps(event).encode())) or b"")
    assert message.delta.reasoning.signature == b"c2VhbA=="
    assert one.text_bytes == 0


def test_all_parts_of_an_answer_are_kept_in_order() -> None:
    one = exchange()
    for delta in (
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"content": "let me "},
        {"content": "see"},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "g"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ):
        one.receive(openai_chunk(**delta))
    assert one.parts == (
        Reasoning("hm"),
        Text("let me see"),
        ToolCall("c1", "f", '{"a":1}'),
        ToolCall("c2", "g", ""),
    )
    assert one.text == "let me see"
    assert one.reasoning_bytes == 2


def test_arguments_count_against_the_hold() -> None:
    one = exchange(tokens_max=2)
    first = openai_chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f"}}])
    long = {"index": 0, "function": {"arguments": "x" * 2 * TOKEN_BYTES_MAX}}
    assert one.receive(first) is not None
    assert one.receive(openai_chunk(tool_calls=[long])) is None
    assert (one.finish_reason, one.cut) == ("budget_exhausted", True)


def test_several_events_in_one_piece_become_several_messages(name: str) -> None:
    one = exchange(name)
    out = one.receive(answer(name, *"abc")) or b""
    assert [m.sequence for m in messages_of(out)] == [0, 1, 2]
    assert one.receive(answer(name, "late")) is None


def test_the_sequence_goes_on_after_what_others_have_sent() -> None:
    one = exchange()
    one.receive(sse(openai_delta("a")))
    one.next_sequence = 7
    assert [m.sequence for m in messages_of(one.receive(sse(openai_delta("b"))) or b"")] == [7]


def test_length_means_the_budget_where_the_budget_shortened_the_answer(name: str) -> None:
    whole, short = exchange(name), exchange(name, shortened=True)
    for one in (whole, short):
        one.receive(answer(name, "a", finish=LENGTH[name]))
    assert (whole.finish_reason, short.finish_reason) == ("length", "budget_exhausted")
    assert not short.cut


def test_a_provider_that_ignores_its_cap_is_cut_at_the_hold(name: str) -> None:
    one = exchange(name, tokens_max=3)
    assert texts_of(one.receive(answer(name, *"abcde"))) == ["a", "b", "c"]
    assert (one.finish_reason, one.cut, one.done) == ("budget_exhausted", True, True)


def test_what_follows_a_cut_still_tells_the_usage_and_the_id(name: str) -> None:
    one = exchange(name, tokens_max=1)
    for event in events(name, "a", "b", "c"):
        one.receive(event)
    assert one.cut
    assert one.usage == TokenUsage(input_tokens=9, output_tokens=4)
    assert one.response_id != ""


def test_a_provider_that_packs_many_tokens_into_one_piece_is_cut_by_bytes(name: str) -> None:
    fits, over = exchange(name, tokens_max=2), exchange(name, tokens_max=2)
    assert texts_of(fits.receive(delta(name, "é" * TOKEN_BYTES_MAX))) != []
    assert over.receive(delta(name, "é" * TOKEN_BYTES_MAX + "x")) is None
    assert (fits.cut, over.cut) == (False, True)


def test_a_body_that_breaks_off_is_broken(name: str) -> None:
    one = exchange(name)
    one.receive(delta(name, "a"))
    one.finish()
    assert one.error is not None
    assert (one.error.kind, one.finish_reason, one.done) == ("broken", None, True)


def test_an_error_ends_it_once() -> None:
    one = exchange()
    one.fail(STALLED)
    assert one.receive(answer("openai", "a")) is None
    one.fail(ProviderError(kind="broken", message="later"))
    one.finish()
    assert (one.error, one.finish_reason, one.deltas) == (STALLED, None, 0)


def test_an_end_stands_against_a_later_error() -> None:
    one = exchange()
    one.receive(answer("openai", "a"))
    one.fail(STALLED)
    assert (one.error, one.finish_reason) == (None, "stop")


def test_an_error_inside_the_stream_is_the_vendors_to_name() -> None:
    one = exchange("anthropic")
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'
    one.receive(sse(anthropic_delta("a")) + sse(error) + sse(anthropic_delta("b")))
    assert one.error is not None
    assert (one.error.kind, one.text) == ("overloaded", "a")


@pytest.mark.parametrize("piece", [1000, 65_536, 3_000_000])
def test_an_event_without_end_is_broken(name: str, piece: int) -> None:
    one = exchange(name)
    for _ in range(0, 2 * SSE_LINE_BYTES_MAX, piece):
        one.receive(b"x" * piece)
    assert one.error is not None
    assert "larger than its bound" in one.error.message


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NotFound, match="zork"):
        AttemptExchange("zork", output_tokens_max=1, attempt_id="a")
    for fields in ({"output_tokens_max": 0}, {"step_index": -1}, {"first_sequence": -1}):
        with pytest.raises(ValueError, match="must"):
            AttemptExchange("openai", **{"output_tokens_max": 1, "attempt_id": "a", **fields})  # type: ignore[arg-type]
    for wrong in (None, "text", bytearray(b"x")):
        with pytest.raises(TypeError):
            exchange().receive(wrong)  # type: ignore[arg-type]


class HoldLast(OutputScan):
    """Holds the last character back, and tells no secret."""

    def __init__(self) -> None:
        self._held = ""

    def pass_on(self, text: bytes) -> bytes:
        whole = (self._held + text.decode()).replace("secret", "[...]")
        self._held = whole[-6:]
        return whole[:-6].encode()

    def end(self) -> bytes:
        held, self._held = self._held, ""
        return held.encode()


def test_an_output_scan_may_hold_back_and_replace_text(name: str) -> None:
    one = exchange(name, output_scan=HoldLast())
    out = one.receive(answer(name, "my sec", "ret is ", "Grüße"))
    assert "".join(texts_of(out)) == one.text == "my [...] is Grüße"
    assert [m.sequence for m in messages_of(out or b"")] == list(range(len(texts_of(out))))
    assert (one.deltas, one.text_bytes) == (3, 20)


def test_what_a_scan_holds_back_goes_out_at_a_cut_but_not_at_a_failure(name: str) -> None:
    cut, failed = (exchange(name, tokens_max=2, output_scan=HoldLast()) for _ in range(2))
    assert "".join(texts_of(cut.receive(answer(name, *"abc")))) == "ab"
    assert failed.receive(delta(name, "a")) is None
    failed.fail(STALLED)
    failed.finish()
    assert failed.receive(answer(name, "b")) is None
    assert (cut.text, failed.text) == ("ab", "")


def test_what_a_scan_holds_back_goes_on_where_only_the_body_ends_the_answer() -> None:
    one = exchange("gemini", output_scan=HoldLast())
    chunk = {"content": {"parts": [{"text": "no secret"}]}, "finishReason": "STOP"}
    frames = one.receive(sse(json.dumps({"candidates": [chunk]}).encode()))
    assert (one.done, texts_of(frames)) == (False, ["no"])
    assert texts_of(one.finish()) == [" [...]"]
    assert (one.done, one.finish_reason, one.finish()) == (True, "stop", None)


class Failing(OutputScan):
    def pass_on(self, text: bytes) -> bytes:
        raise ZeroDivisionError


def test_a_scan_that_fails_lets_nothing_through() -> None:
    one = exchange(output_scan=Failing())
    with pytest.raises(ZeroDivisionError):
        one.receive(answer("openai", "a", "b"))
    assert one.receive(answer("openai", "c")) is None


def test_no_scan_is_the_plain_one(name: str) -> None:
    with_scan, without = exchange(name, output_scan=OutputScan()), exchange(name)
    stream = answer(name, "a", "é", "b")
    assert with_scan.receive(stream) == without.receive(stream)


TEXTS = st.lists(st.text(max_size=20), max_size=8)


@given(
    name=st.sampled_from(["openai", "anthropic"]), texts=TEXTS, tokens_max=st.integers(1, 9),
    held=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_an_answer_cut_at_every_byte_is_the_same_and_the_twins(
    name: str, texts: list[str], tokens_max: int, held: bool
) -> None:
    stream = answer(name, *texts)
    twin = ExchangeTwin(
        name,
        output_tokens_max=tokens_max,
        attempt_id="att-1",
        output_scan=HoldLast() if held else None,
    )
    whole = twin.receive(stream) or b""
    every_byte = [bytes([byte]) for byte in stream]
    for pieces in (
        [stream], every_byte, *([stream[:at], stream[at:]] for at in range(len(stream)))
    ):  # fmt: skip
        one = exchange(name, tokens_max=tokens_max, output_scan=HoldLast() if held else None)
        assert b"".join(one.receive(piece) or b"" for piece in pieces) == whole
        assert state_of(one) == state_of(twin)
        assert one.text == twin.text


@given(name=st.sampled_from(["openai", "anthropic"]), data=st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_end_as_the_twin_ends(name: str, data: bytes) -> None:
    for stream in (data, sse(data), delta(name, "a") + sse(data)):
        one = exchange(name)
        twin = ExchangeTwin(name, output_tokens_max=100, attempt_id="att-1")
        assert one.receive(stream) == twin.receive(stream)
        one.finish()
        twin.finish()
        assert state_of(one) == state_of(twin)


class Room:
    """Gives room for `sizes` one after the other, then no more; keeps what it was asked with."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.asked: list[int] = []

    def __call__(self, text_bytes: int) -> int:
        self.asked.append(text_bytes)
        return self.sizes.pop(0) if self.sizes else 0


def growing(name: str, room: Room, *, tokens_max: int = 100) -> AttemptExchange:
    return AttemptExchange(
        name, output_tokens_max=tokens_max, attempt_id="att-1", keep_text=True, grow=room
    )


def test_a_hold_is_asked_to_grow_only_where_the_answer_reaches_its_end(name: str) -> None:
    room = Room(4, 6, 100)
    one = growing(name, room)
    one.receive(answer(name, *"abcdefgh"))
    assert (one.text, one.finish_reason, room.asked) == ("abcdefgh", "stop", [1, 5, 7])


def test_where_the_hold_does_not_grow_the_answer_is_cut_in_the_middle_of_a_read(name: str) -> None:
    one = growing(name, Room(4, 5, 5))
    out = one.receive(answer(name, *"abcdefgh"))
    assert "".join(texts_of(out)) == one.text == "abcde"
    assert (one.cut, one.finish_reason, one.done) == (True, "budget_exhausted", True)


def test_a_text_larger_than_the_hold_grows_is_not_passed_on_in_part(name: str) -> None:
    one = growing(name, Room(2, 9))
    one.receive(answer(name, "ab", "x" * 8))
    assert (one.text, one.cut) == ("ab", True)


def test_a_hold_that_grows_is_still_bounded_by_the_cap_of_the_provider(name: str) -> None:
    one = growing(name, Room(1 << 62), tokens_max=3)
    one.receive(answer(name, *"abcd"))
    assert (one.text, one.cut) == ("abc", True)
    one = growing(name, Room(1 << 62, 1 << 62), tokens_max=3)
    one.receive(answer(name, "x" * 3 * TOKEN_BYTES_MAX, "y"))
    assert (one.text_bytes, one.cut) == (3 * TOKEN_BYTES_MAX, True)


def test_a_hold_that_fails_to_grow_with_an_error_lets_nothing_through(name: str) -> None:
    def fails(text_bytes: int) -> int:
        raise RuntimeError("a bug")

    one = AttemptExchange(name, output_tokens_max=9, attempt_id="a", grow=fails)
    with pytest.raises(RuntimeError):
        one.receive(answer(name, "a"))
    assert one.receive(answer(name, "b")) is None


@given(st.lists(st.integers(1, 40), max_size=30), st.lists(st.integers(0, 500), max_size=30))
def test_what_goes_on_never_passes_what_the_hold_grew_to(
    texts: list[int], sizes: list[int]
) -> None:
    room = Room(*sizes)
    one = growing("openai", room)
    for size in texts:
        one.receive(delta("openai", "x" * size))
    given_room = sizes[: len(room.asked)]
    assert one.text_bytes <= max(given_room, default=0)
    assert one.cut == (one.text_bytes < sum(texts))


def test_a_stopped_answer_is_cut_and_one_that_ended_is_not(name: str) -> None:
    one = exchange(name)
    one.receive(delta(name, "a"))
    one.stop()
    assert (one.cut, one.finish_reason) == (True, "budget_exhausted")
    assert one.receive(delta(name, "b")) is None
    whole = exchange(name)
    whole.receive(answer(name, "a"))
    whole.stop()
    assert (whole.cut, whole.finish_reason) == (False, "stop")
