"""What the sandbox can be told, and by whom: the environment, then headers, then the prompt itself.

A directive stands in the system or the last user text: `[[sandbox output_tokens=40 stall_after=7]]`.
A header is `x-sandbox-output-tokens: 40`, a variable `HARMOST_SANDBOX_OUTPUT_TOKENS=40`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

__all__ = ["KnobError", "Knobs", "from_environment", "from_request"]

_DIRECTIVE = "[[sandbox"
_HEADER = "x-sandbox-"
_VARIABLE = "HARMOST_SANDBOX_"
_WORD = re.compile(r"(?:(?!\]\])\S)*")
_TOKENS_MAX = 1_000_000
_MS_MAX = 600_000.0


class KnobError(ValueError):
    """A knob that does not exist, or a value that it does not take."""


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered. None: as any provider would."""

    output_tokens: int | None = None  # length of the answer; None: drawn
    output_median: int = 64  # of the draw
    output_sigma: float = 0.6
    chunk_tokens: int = 1  # tokens an event
    ttft_ms: float = 1.0  # median time to the first token
    token_ms: float = 0.0  # median time between tokens
    latency_sigma: float = 0.3  # 0: every latency is its median
    fail: int | None = None  # answer with this HTTP status
    throttle: float | None = None  # answer 429, retry after so many seconds
    fail_first: tuple[int, str] | None = None  # fail the first k requests of this name
    stall_after: int | None = None  # tokens, then silence; 0: before the first byte
    break_after: int | None = None  # tokens, then the connection is cut; 0: before the first byte
    garbage: str | None = None  # "bytes", "error" or "types"
    lie_usage: tuple[int, float] | None = None  # report (output + n) times a factor
    no_usage: bool = False
    ignore_max: bool = False  # write more than was asked for
    json: str | None = None  # the whole answer, or the arguments of `tool`
    tool: str | None = None  # the answer is a call of this tool, which the request must offer


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError(f"must be in {low:g}..{high:g}")
        return number

    return read


def _count(low: int, high: int = _TOKENS_MAX) -> Callable[[str], int]:
    def read(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(f"must be in {low}..{high}")
        return number

    return read


def _flag(value: str) -> bool:
    if value.lower() in ("", "1", "true", "yes"):
        return True
    if value.lower() in ("0", "false", "no"):
        return False
    raise ValueError("must be true or false")


def _fail_first(value: str) -> tuple[int, str]:
    count, _, name = value.partition(":")
    return _count(0)(count), name[:64]


def _garbage(value: str) -> str:
    if value not in ("", "bytes", "error", "types"):
        raise ValueError("must be `bytes`, `error` or `types`")
    return value or "bytes"


def _lie(value: str) -> tuple[int, float]:
    if value.startswith(("+", "-")):
        return int(value), 1.0
    return 0, _number(0, 1000)(value.removeprefix("x"))


def _object(value: str) -> str:
    json.loads(value)
    if not value.startswith("{"):
        raise ValueError("must be a JSON object")
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "output_tokens": _count(0),
    "output_median": _count(1),
    "output_sigma": _number(0, 4),
    "chunk_tokens": _count(1),
    "ttft_ms": _number(0, _MS_MAX),
    "token_ms": _number(0, _MS_MAX),
    "latency_sigma": _number(0, 4),
    "fail": _count(400, 599),
    "throttle": lambda value: _number(0, 3600)(value or "1"),
    "fail_first": _fail_first,
    "stall_after": _count(0),
    "break_after": _count(0),
    "garbage": _garbage,
    "lie_usage": _lie,
    "no_usage": _flag,
    "ignore_max": _flag,
    "json": _object,
    "tool": str,
}


def from_environment(environment: Mapping[str, str]) -> Knobs:
    """The defaults of a server. Raises KnobError."""
    pairs = (
        (name.removeprefix(_VARIABLE).lower(), value)
        for name, value in environment.items()
        if name.startswith(_VARIABLE)
    )
    return _turned(Knobs(), pairs)


def from_request(defaults: Knobs, headers: Mapping[str, str], texts: Iterable[str]) -> Knobs:
    """The knobs of one request; a later text wins over an earlier one. Raises KnobError."""
    pairs: list[tuple[str, str]] = []
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(_HEADER):
            pairs.append((name.removeprefix(_HEADER).replace("-", "_"), value))
    for text in texts:
        start = text.find(_DIRECTIVE)
        while start >= 0:
            start += len(_DIRECTIVE)
            pairs += _directive(text, start)
            start = text.find(_DIRECTIVE, start)
    return _turned(defaults, pairs) if pairs else defaults


def _turned(knobs: Knobs, pairs: Iterable[tuple[str, str]]) -> Knobs:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _READERS:
            raise KnobError(f"no knob is called `{name}`: use one of {', '.join(_READERS)}")
        try:
            values[name] = _READERS[name](value)
        except (ValueError, RecursionError) as error:
            raise KnobError(f"knob `{name}` does not take `{value}`: {error}") from None
    return msgspec.structs.replace(knobs, **values)


def _directive(text: str, start: int) -> list[tuple[str, str]]:
    """Knobs from `start` to the closing brackets. JSON ends where its object ends."""
    pairs: list[tuple[str, str]] = []
    position = start
    while True:
        while text[position : position + 1].isspace():
            position += 1
        if text.startswith("]]", position):
            return pairs
        if position >= len(text):
            raise KnobError("a directive is not closed: end it with `]]`")
        if text.startswith("json=", position):
            end = _object_end(text, position + len("json="))
        else:
            end = _word_end(text, position)
        name, _, value = text[position:end].partition("=")
        pairs.append((name, value))
        position = end


def _word_end(text: str, start: int) -> int:
    word = _WORD.match(text, start)
    return word.end() if word else start


def _object_end(text: str, start: int) -> int:
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise KnobError(f"knob `json` is no JSON: {error}") from None
    return end
