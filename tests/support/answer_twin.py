"""The slow, obvious twins of what reads an answer: event stream, relay, exchange. Oracles in tests."""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from harmost.core.chat import FinishReason
from harmost.core.limits import SSE_LINE_BYTES_MAX
from harmost.core.providers.codec import (
    Codec,
    Ended,
    Event,
    ProviderError,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from harmost.core.providers.registry import codec
from harmost.core.relay.exchange import TOKEN_BYTES_MAX, AttemptExchange, OutputScan
from harmost.core.usage import TokenUsage
from harmost.router.v1 import router_pb2

BOM = b"\xef\xbb\xbf"


class SseTwin:
    """Splits bytes into the data of events by whole lines (WHATWG HTML, section 9.2.6)."""

    def __init__(self, *, bytes_max: int = SSE_LINE_BYTES_MAX) -> None:
        self.overflowed = False
        self._bytes_max = bytes_max
        self._tail = b""  # the line that is not over yet
        self._data: list[bytes] = []
        self._held_bytes = 0  # of this event's lines that are over
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """Data of the events that `data` completes."""
        if self.overflowed:
            return []
        if self._first:
            data, self._tail = self._tail + data, b""
            if len(data) < len(BOM) and BOM.startswith(data):
                self._tail = data
                return []
            data, self._first = data.removeprefix(BOM), False
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._tail = (self._tail + data).split(b"\n")
        events = self._take(lines)
        if self._held_bytes + len(self._tail) > self._bytes_max:
            self.overflowed = True
        return events

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                self._data, self._held_bytes = [], 0
                continue
            self._held_bytes += len(line)
            if self._held_bytes > self._bytes_max:
                self.overflowed = True
                break
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
        return events


class ParserTwin:
    """Reads one streamed answer: whole events, each decoded in full."""

    def __init__(self, codec: Codec) -> None:
        self._sse = SseTwin()
        self._reader = codec.reader()

    def feed(self, data: bytes) -> list[Event]:
        """Events that `data` completes. After `Ended` or `ProviderError` nothing more comes."""
        if self._reader.over:
            return []
        events = [event for data in self._sse.feed(data) for event in self._reader.take(data)]
        return events + (self._reader.overflow() if self._sse.overflowed else [])

    def finish(self) -> list[Event]:
        """The body is over."""
        return self._reader.finish()


Piece: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta


class RelayTwin:
    """Counts and cuts an answer, event by event."""

    def __init__(self, *, output_tokens_max: int, shortened: bool = False) -> None:
        self._output_tokens_max = output_tokens_max
        self._shortened = shortened
        self._ended = False
        self.deltas = 0
        self.text_bytes = 0
        self.usage: TokenUsage | None = None
        self.finish_reason: FinishReason | None = None
        self.error: ProviderError | None = None
        self.response_id = ""

    @property
    def done(self) -> bool:
        """The answer ended, failed or was cut."""
        return self.finish_reason is not None or self.error is not None

    @property
    def cut(self) -> bool:
        """We ended it, not the provider."""
        return self.finish_reason == "budget_exhausted" and not self._ended

    def feed(self, events: Sequence[Event]) -> list[Piece]:
        """Pieces to send on, in order. Events after the end are ignored."""
        pieces: list[Piece] = []
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
                empty = isinstance(event, TextDelta) and not event.text
                if not self.done and not empty and self._admit(_counted(event)):
                    pieces.append(event)
            elif isinstance(event, UsageReported):
                self.usage = event.usage
            elif isinstance(event, Ended):
                self._end(event)
            else:
                self.fail(event)
        return pieces

    def fail(self, error: ProviderError) -> None:
        """End with `error`, unless it has ended already."""
        if not self.done:
            self.error = error

    def _admit(self, text: str) -> bool:
        size, tokens_max = len(text.encode()), self._output_tokens_max
        if self.deltas >= tokens_max or self.text_bytes + size > tokens_max * TOKEN_BYTES_MAX:
            self.finish_reason = "budget_exhausted"
            return False
        self.deltas += 1
        self.text_bytes += size
        return True

    def _end(self, ended: Ended) -> None:
        self.response_id = ended.response_id
        if self.done:
            return
        self._ended = True
        shortened = ended.finish_reason == "length" and self._shortened
        self.finish_reason = "budget_exhausted" if shortened else ended.finish_reason


class ExchangeTwin(RelayTwin):
    """An `AttemptExchange` of whole events, whole texts and protobuf's own encoder."""

    def __init__(
        self,
        codec_name: str,
        *,
        output_tokens_max: int,
        attempt_id: str,
        step_index: int = 0,
        first_sequence: int = 0,
        shortened: bool = False,
        output_scan: OutputScan | None = None,
    ) -> None:
        super().__init__(output_tokens_max=output_tokens_max, shortened=shortened)
        self._parser = ParserTwin(codec(codec_name))
        self.codec_name = codec_name
        self.attempt_id = attempt_id
        self.step_index = step_index
        self._output_scan = output_scan
        self.next_sequence = first_sequence
        self.text = ""

    def receive(self, data: bytes) -> bytes | None:
        """Framed messages that `data` completes."""
        return self._take(self._parser.feed(data)) or None

    def finish(self) -> None:
        """The body is over."""
        self._take(self._parser.finish())

    def _take(self, events: Sequence[Event]) -> bytes:
        out = b""
        for event in events:
            was_done = self.done
            pieces = self.feed([event])
            if self._output_scan is not None:
                pieces = [self._scanned(piece, self._output_scan) for piece in pieces]
                if self.finish_reason is not None and not was_done:
                    pieces.append(TextDelta(self._output_scan.end().decode()))
            out += b"".join(self._frame(piece) for piece in pieces if piece != TextDelta(""))
        return out

    def _scanned(self, piece: Piece, scan: OutputScan) -> Piece:
        if not isinstance(piece, TextDelta):
            return piece
        return TextDelta(scan.pass_on(piece.text.encode()).decode())

    def _frame(self, piece: Piece) -> bytes:
        message = delta_message(
            piece,
            sequence=self.next_sequence,
            attempt_id=self.attempt_id,
            step_index=self.step_index,
        )
        self.next_sequence += 1
        self.text += piece.text if isinstance(piece, TextDelta) else ""
        return framed(message)


def _counted(piece: Piece) -> str:
    """What of it counts against the hold."""
    return piece.name + piece.arguments if isinstance(piece, ToolCallDelta) else piece.text


def delta_message(piece: Piece | str, *, sequence: int, attempt_id: str, step_index: int) -> bytes:
    """A piece of an answer as protobuf writes it; a string is text."""
    response = router_pb2.StreamChatResponse(sequence=sequence)
    if isinstance(piece, ToolCallDelta):
        call = response.tool_call_delta
        call.step_index, call.attempt_id, call.tool_call_index = step_index, attempt_id, piece.index
        call.call_id, call.name, call.arguments_json = piece.call_id, piece.name, piece.arguments
        return response.SerializeToString()
    delta = response.delta
    delta.step_index, delta.attempt_id = step_index, attempt_id
    if isinstance(piece, ReasoningDelta):
        delta.reasoning.text, delta.reasoning.signature = piece.text, piece.signature
        delta.reasoning.SetInParent()
    else:
        delta.text = piece if isinstance(piece, str) else piece.text
    return response.SerializeToString()


def framed(message: bytes) -> bytes:
    """`message` behind gRPC's prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def messages_of(out: bytes) -> list[router_pb2.StreamChatResponse]:
    """The messages in `out`, which must hold whole ones only."""
    messages: list[router_pb2.StreamChatResponse] = []
    while out:
        assert out[0] == 0
        size = int.from_bytes(out[1:5], "big")
        assert len(out) >= 5 + size
        messages.append(router_pb2.StreamChatResponse.FromString(out[5 : 5 + size]))
        out = out[5 + size :]
    return messages


def state_of(exchange: AttemptExchange | ExchangeTwin) -> dict[str, Any]:
    """All that an exchange says of itself but its text."""
    names = (
        "done", "cut", "finish_reason", "usage", "error", "deltas", "text_bytes", "response_id",
        "next_sequence",
    )  # fmt: skip
    return {name: getattr(exchange, name) for name in names}


# What a provider sends.


def sse(data: bytes, *, event: str = "") -> bytes:
    """One event of a stream."""
    name = f"event: {event}\n".encode() if event else b""
    return name + b"data: " + data + b"\n\n"


def openai_delta(text: str | None, finish: str | None = None, *, ascii_only: bool = True) -> bytes:
    """One chunk of chat.completions, as OpenAI sends it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1763837037}
    return _json({**chunk, "model": "m", "choices": [choice], "usage": None}, ascii_only)


def anthropic_delta(text: str, *, ascii_only: bool = True) -> bytes:
    """One piece of messages, as Anthropic sends it."""
    delta = {"type": "text_delta", "text": text}
    return _json({"type": "content_block_delta", "index": 0, "delta": delta}, ascii_only)


def openai_answer(texts: Sequence[str], finish: str = "stop", **usage: int) -> list[bytes]:
    """The events of a whole answer; with `usage`, say what it billed."""
    events = [sse(openai_delta(""))]
    events += [sse(openai_delta(text, ascii_only=len(text) % 2 == 0)) for text in texts]
    events.append(sse(openai_delta(None, finish)))
    if usage:
        events.append(sse(_json({"choices": [], "usage": usage}, True)))
    return [*events, sse(b"[DONE]")]


def anthropic_answer(texts: Sequence[str], finish: str = "end_turn", **usage: int) -> list[bytes]:
    """The events of a whole answer; with `usage`, say what it billed."""

    def event(type_: str, **fields: Any) -> bytes:
        return sse(_json({"type": type_, **fields}, True), event=type_)

    block = {"type": "text", "text": ""}
    events = [
        event("message_start", message={"id": "msg_1", "usage": usage or None}),
        event("content_block_start", index=0, content_block=block),
        event("ping"),
    ]
    events += [
        sse(anthropic_delta(text, ascii_only=len(text) % 2 == 0), event="content_block_delta")
        for text in texts
    ]
    events += [
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": finish}, usage=usage or None),
        event("message_stop"),
    ]
    return events


def _json(value: object, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode()
