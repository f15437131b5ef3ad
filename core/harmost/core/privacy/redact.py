"""Replace data of some classes in a text. What is replaced, and how, is said by policy."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from harmost.core.policy.decision import Redaction
from harmost.core.privacy.scan import find
from harmost.core.privacy.span import Span

__all__ = ["redact", "redact_json"]

_DIGITS_SHOWN = 4

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | float | bool | None"


def redact(text: str, redactions: Iterable[Redaction]) -> tuple[str, dict[str, int]]:
    """`text` with what `redactions` name replaced, and how many spans of each class were.

    "label" puts the class in brackets, "[EMAIL]". "mask_last4" shows the last four digits of a card
    number and keeps its separators, "**** **** **** 1111"; other classes get their label. Where spans
    overlap each is replaced. O(characters).
    """
    how_by_class = {redaction.data_class: redaction.how for redaction in redactions}
    if not how_by_class:
        return text, {}
    spans = [span for span in find(text) if span.data_class in how_by_class]
    spans_by_class: dict[str, int] = {}
    for span in spans:
        spans_by_class[span.data_class] = spans_by_class.get(span.data_class, 0) + 1
    return "".join(_pieces(text, spans, how_by_class)), spans_by_class


def redact_json(text: str, redactions: Iterable[Redaction]) -> tuple[str, dict[str, int]]:
    """The same of a JSON text, which stays JSON: a number that is replaced becomes a string.

    Names of fields are replaced too; of two that become the same the last stays. Where nothing is
    replaced `text` is returned as it came.
    """
    redactions = tuple(redactions)
    spans_by_class: dict[str, int] = {}

    def replaced(words: str) -> str:
        redacted, found = redact(words, redactions)
        for data_class, count in found.items():
            spans_by_class[data_class] = spans_by_class.get(data_class, 0) + count
        return redacted

    def changed(value: _Json) -> _Json:
        if isinstance(value, dict):
            return {replaced(name): changed(each) for name, each in value.items()}
        if isinstance(value, list):
            return [changed(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        words = value if isinstance(value, str) else str(value)
        redacted = replaced(words)
        return value if redacted == words else redacted

    if not redactions or not text:
        return text, {}
    rewritten = changed(json.loads(text))
    return (json.dumps(rewritten, ensure_ascii=False) if spans_by_class else text), spans_by_class


def _pieces(text: str, spans: Sequence[Span], how_by_class: Mapping[str, str]) -> Iterable[str]:
    done = 0
    for span in spans:
        if span.end <= done:
            continue  # inside what was replaced
        yield text[done : span.start]
        whole = span.start >= done
        if whole and span.data_class == "pan" and how_by_class["pan"] == "mask_last4":
            yield _masked(text[span.start : span.end])
        else:
            yield f"[{span.data_class.upper()}]"
        done = span.end
    yield text[done:]


def _masked(number: str) -> str:
    """`number` with all but its last digits as stars; separators stay."""
    hidden = sum(character.isdecimal() for character in number) - _DIGITS_SHOWN
    masked: list[str] = []
    for character in number:
        if character.isdecimal() and hidden > 0:
            hidden -= 1
            masked.append("*")
        else:
            masked.append(character)
    return "".join(masked)
