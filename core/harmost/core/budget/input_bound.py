"""How much input an attempt can turn out to have, and what no one can bound. Pure.

Text has no more tokens than bytes. An image behind a URL, a file that the provider keeps and a tool
that the provider runs have no size here: unless whoever calls declares one, no hold covers them, and
a hard ceiling of money or tokens denies. A ceiling of requests does not mind.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.price import TOKENS_MAX, TOOL_CALLS_MAX
from harmost.core.chat import Message
from harmost.core.errors import BudgetExhausted
from harmost.core.tokens.estimate import input_tokens_max

__all__ = ["InputBound", "InputPart", "ServerTool", "check_bound", "input_bound"]


class InputPart(NamedTuple):
    """Input that is not text here. `tokens_max` None: nobody says how much it can be."""

    kind: Literal["image_url", "file_id", "audio_url", "document_url"]
    tokens_max: int | None


class ServerTool(NamedTuple):
    """A tool that the provider runs and bills by the call. What it finds becomes input.

    `uses_max` None, or no tokens for each use: it may call and read as often as it likes.
    """

    name: str
    uses_max: int | None
    tokens_max_each: int | None = None


class InputBound(NamedTuple):
    """At the most so many tokens and calls, but for what `unbounded` names for people."""

    tokens_max: int
    tool_calls_max: Mapping[str, int]
    unbounded: tuple[str, ...]


def input_bound(
    messages: Iterable[Message],
    *,
    parts: Iterable[InputPart] = (),
    tools: Iterable[ServerTool] = (),
) -> InputBound:
    """What an attempt with all this can have at the most. ValueError for a bound that is none."""
    tokens, calls, unbounded = input_tokens_max(messages), dict[str, int](), list[str]()
    for part in parts:
        if part.tokens_max is None:
            unbounded.append(f"`{part.kind}` without `tokens_max`")
        else:
            tokens += _within(part.tokens_max, TOKENS_MAX, part.kind)
    for tool in tools:
        if tool.uses_max is None:
            unbounded.append(f"tool `{tool.name}` without a limit of uses")
            continue
        uses = _within(tool.uses_max, TOOL_CALLS_MAX, tool.name)
        calls[tool.name] = calls.get(tool.name, 0) + uses
        if tool.tokens_max_each is None:
            unbounded.append(f"tool `{tool.name}` without a limit of tokens for each use")
        else:
            tokens += uses * _within(tool.tokens_max_each, TOKENS_MAX, tool.name)
    return InputBound(min(tokens, TOKENS_MAX), calls, tuple(unbounded))


def check_bound(bound: InputBound, limits: Iterable[BudgetLimit]) -> None:
    """Raise BudgetExhausted where a hard ceiling of `limits` meets input that has no bound."""
    if not bound.unbounded:
        return
    for limit in limits:
        if limit.hard and limit.unit is not Unit.REQUESTS:
            raise BudgetExhausted(
                f"{bound.unbounded[0]} could cost anything, and budget `{limit.budget}` of "
                f"`{limit.node}` is hard: declare how much it can be, or leave it out",
                details={
                    "reason": "input_unbounded",
                    "budget": limit.budget,
                    "node": limit.node,
                    "unbounded": "; ".join(bound.unbounded),
                },
            )


def _within(value: int, most: int, what: str) -> int:
    if not 0 <= value <= most:
        raise ValueError(f"`{what}` cannot have `{value}`: state 0 to {most}")
    return value
