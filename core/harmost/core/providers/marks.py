"""Marks of what a provider shall cache, where its format takes them: which fit, and which are too many.

Source: docs.anthropic.com, "Prompt caching": at most four marks, and none of an hour after one of five
minutes. Bedrock holds to the same.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from harmost.core.chat import CacheTtl, Generation, Message, Part, Reasoning, Tool

__all__ = ["MARKS_MAX", "marks", "with_marks_that_fit"]

MARKS_MAX = 4

Marked = TypeVar("Marked", bound=msgspec.Struct)


def marks(messages: Sequence[Message], generation: Generation) -> list[CacheTtl]:
    """How long each mark asks for, in the order of the prompt: tools, system messages, the others."""
    system = (part for m in messages if m.role == "system" for part in m.parts)
    others = (part for m in messages if m.role != "system" for part in m.parts)
    marked: tuple[Tool | Part, ...] = (*generation.tools, *system, *others)
    return [each.cache for each in marked if not isinstance(each, Reasoning) and each.cache]


def with_marks_that_fit(
    messages: Sequence[Message], generation: Generation
) -> tuple[Sequence[Message], Generation, bool]:
    """The same with the marks that such a format takes, and whether any was left out.

    A mark of five minutes before one of an hour goes: the later one keeps what it would, and longer.
    Of the others the last stay, since they reach farthest.
    """
    asked = marks(messages, generation)
    fits = _that_fit(asked)
    if all(fits):
        return messages, generation, False
    stays = iter(fits)
    tools = tuple(_held_to(stays, tool) for tool in generation.tools)
    system = {n: _message(stays, m) for n, m in enumerate(messages) if m.role == "system"}
    others = {n: _message(stays, m) for n, m in enumerate(messages) if m.role != "system"}
    held = tuple(system[n] if n in system else others[n] for n in range(len(messages)))
    return held, msgspec.structs.replace(generation, tools=tools), True


def _that_fit(asked: Sequence[CacheTtl]) -> list[bool]:
    hours = [n for n, ttl in enumerate(asked) if ttl == "1h"]
    last_hour = hours[-1] if hours else -1
    fit = [n for n, ttl in enumerate(asked) if ttl == "1h" or n > last_hour][-MARKS_MAX:]
    return [n in fit for n in range(len(asked))]


def _message(stays: Iterator[bool], message: Message) -> Message:
    return Message(message.role, tuple(_held_to(stays, part) for part in message.parts))


def _held_to(stays: Iterator[bool], marked: Marked) -> Marked:
    """`marked`, without its mark if the next of `stays` says so."""
    if not getattr(marked, "cache", "") or next(stays):
        return marked
    return msgspec.structs.replace(marked, cache="")
