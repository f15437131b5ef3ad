"""W3C trace context: what a call's metadata says of the trace that its caller is in.

Source: https://www.w3.org/TR/trace-context/, sections 3.2 (traceparent) and 3.3 (tracestate).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["UNTRACED", "Parent", "TraceContext", "parent_of", "trace_context"]

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TRACEPARENT_CHARS = 55
TRACESTATE_CHARS_MAX = 512  # section 3.3.1.5: what everybody must be able to carry
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_TRACESTATE = re.compile(r"[\x20-\x7e]+=[\x20-\x7e]+", re.ASCII)
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A valid `traceparent`, as version 00 writes it, and its `tracestate`; both "" without one."""

    parent: str
    state: str


class Parent(NamedTuple):
    """The span that a call was made in, and whether its trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool


UNTRACED = TraceContext("", "")


def trace_context(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext:
    """What `metadata` says. What is malformed counts as absent: a trace never refuses a call."""
    parents: list[str | bytes] = []
    states: list[str | bytes] = []
    for key, value in metadata:
        if key == TRACEPARENT:
            parents.append(value)
        elif key == TRACESTATE:
            states.append(value)
    if len(parents) != 1 or not isinstance(parents[0], str):
        return UNTRACED
    parent = _normal(parents[0])
    return TraceContext(parent, _joined(states)) if parent else UNTRACED


def parent_of(traceparent: str) -> Parent | None:
    """The span that `traceparent` names; None where it is malformed."""
    fields = _TRACEPARENT.fullmatch(_normal(traceparent))
    if fields is None:
        return None
    flags = int(fields[4], 16)
    return Parent(bytes.fromhex(fields[2]), bytes.fromhex(fields[3]), bool(flags & _SAMPLED))


def _normal(traceparent: str) -> str:
    """`traceparent` without what later versions add; "" where it is malformed."""
    head, rest = traceparent[:TRACEPARENT_CHARS], traceparent[TRACEPARENT_CHARS:]
    fields = _TRACEPARENT.fullmatch(head)
    if fields is None or fields[1] == "ff":
        return ""
    if rest and (fields[1] == "00" or not rest.startswith("-")):
        return ""
    if not int(fields[2], 16) or not int(fields[3], 16):
        return ""  # all zeros is no id
    return "00" + head[2:]


def _joined(states: list[str | bytes]) -> str:
    """The members of all `states`; "" where one is malformed or all are too many."""
    texts = [state for state in states if isinstance(state, str)]
    joined = ",".join(text for text in texts if text.strip())
    members = [member for member in joined.split(",") if member.strip()]
    if len(joined) > TRACESTATE_CHARS_MAX or len(texts) != len(states):
        return ""
    return joined if all(_TRACESTATE.fullmatch(member) for member in members) else ""
