"""What the sandbox needs of a vendor's format: a request read, an answer rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Answer", "Ask", "BadRequest", "Shape", "escaped"]


class BadRequest(ValueError):
    """The request is not what the vendor takes."""


@dataclass(frozen=True)
class Ask:
    """One request. `texts` is the whole prompt; `directives` the texts that may hold knobs."""

    model: str
    texts: Sequence[str]
    directives: Sequence[str]
    output_tokens_max: int
    stream: bool
    usage_asked: bool
    seed: int = 0
    tools: Sequence[str] = ()  # names of those on offer
    data: bytes = b""  # what the answer holds where it is no words: JSON


@dataclass(frozen=True)
class Answer:
    """What is said about one answer. `usage` is what is reported, which may be a lie; None: nothing."""

    attempt_id: str
    model: str
    created_s: int
    cut: bool  # by the caller's maximum
    usage: tuple[int, int] | None  # input, output tokens
    tool: str = ""  # the answer's text is the arguments of a call of it; "": it is words
    data: bytes = b""  # as `Ask` has it


class Shape(Protocol):
    """One vendor. Rendered pieces come escaped for a JSON string."""

    def ask(self, body: bytes, headers: Mapping[str, str]) -> Ask:
        """Read a request. Raises BadRequest."""
        ...

    def headers(self, attempt_id: str) -> dict[str, str]:
        """Headers that the vendor sends with every answer."""
        ...

    def head(self, answer: Answer) -> bytes:
        """Events before the first token."""
        ...

    def frames(self, answer: Answer, pieces: Sequence[bytes]) -> list[bytes]:
        """One event for each piece."""
        ...

    def tail(self, answer: Answer) -> bytes:
        """Events after the last token."""
        ...

    def whole(self, answer: Answer, text: bytes) -> bytes:
        """The body of an answer that is not streamed."""
        ...

    def error(self, *, status: int, message: str, attempt_id: str) -> bytes:
        """The body of an error."""
        ...


def escaped(text: bytes) -> bytes:
    """`text` as it stands inside a JSON string."""
    return (
        text.replace(b"\\", b"\\\\")
        .replace(b'"', b'\\"')
        .replace(b"\n", b"\\n")
        .replace(b"\r", b"\\r")
        .replace(b"\t", b"\\t")
    )
