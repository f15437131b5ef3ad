"""An answer put together again from its pieces, for a caller or a step that wants it whole."""

from harmost.core.chat import Part, Reasoning, Text, ToolCall
from harmost.core.providers.codec import ReasoningDelta, ToolCallDelta

__all__ = ["Kept"]


class _Words:
    """UTF-8 that grows."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    @property
    def part(self) -> Text:
        return Text(b"".join(self.pieces).decode())


class _Call:
    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.pieces: list[str] = []

    @property
    def part(self) -> ToolCall:
        return ToolCall(self.call_id, self.name, "".join(self.pieces))


class _Thought:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.signature = b""

    @property
    def part(self) -> Reasoning:
        return Reasoning("".join(self.pieces), self.signature)


class Kept:
    """Takes each piece as it goes on. Memory: the answer itself, which its hold bounds."""

    def __init__(self) -> None:
        self._growing: list[_Words | _Call | _Thought] = []
        self._calls: dict[int, _Call] = {}  # by which of the answer's calls they are

    def text_piece(self, text: bytes) -> None:
        """Words, whole characters of UTF-8."""
        last = self._growing[-1] if self._growing else None
        if not isinstance(last, _Words):
            last = _Words()
            self._growing.append(last)
        last.pieces.append(text)

    def tool_call(self, delta: ToolCallDelta) -> None:
        """A piece of a tool call, perhaps of an earlier one."""
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _Call()
            self._growing.append(call)
        call.call_id = call.call_id or delta.call_id
        call.name = call.name or delta.name
        call.pieces.append(delta.arguments)

    def reasoning(self, delta: ReasoningDelta) -> None:
        """A piece of reasoning; a seal ends it."""
        last = self._growing[-1] if self._growing else None
        if not isinstance(last, _Thought) or last.signature:
            last = _Thought()
            self._growing.append(last)
        last.pieces.append(delta.text)
        last.signature = delta.signature

    @property
    def text(self) -> str:
        """Its words, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of it, in order."""
        return tuple(each.part for each in self._growing)
