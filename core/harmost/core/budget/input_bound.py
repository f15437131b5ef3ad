"""How much input an attempt can turn out to have, and what no one can bound. Pure.

Text has no more tokens than bytes. An image behind a URL, a file that the provider keeps and a tool
that the provider runs have no size here: unless whoever calls declares one, no hold covers them, and
a hard ceiling of money or tokens denies. A ceiling of requests does not mind.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.budget.price import TOKENS_MAX, TOOL_CALLS_MAX, ModelPrice
from harmost.core.errors import BudgetExhausted
from harmost.core.resources.kinds import ServerTool

__all__ = ["InputBound", "InputPart", "check_bound", "input_bound", "priced"]


class InputPart(NamedTuple):
    """Input that is not text here. `tokens_max` None: nobody says how much it can be."""

    kind: Literal["image_url", "file_id", "audio_url", "document_url"]
    tokens_max: int | None


class InputBound(NamedTuple):
    """At the most so many tokens and calls, but for what `unbounded` names for people."""

    tokens_max: int
    tool_calls_max: Mapping[str, int]
    unbounded: tuple[str, ...]


def input_bound(
    text_tokens_max: int,
    *,
    parts: Iterable[InputPart] = (),
    tools: Mapping[str, ServerTool] = MappingProxyType({}),
) -> InputBound:
    """What an attempt with all this can have at the most. ValueError for a bound that is none.

    `text_tokens_max` is the bound of its text, `tools` are those that the provider runs and bills by the call; what they find becomes input.
    """
    tokens, calls, unbounded = text_tokens_max, dict[str, int](), list[str]()
    for part in parts:
        if part.tokens_max is None:
            unbounded.append(f"`{part.kind}` without `tokens_max`")
        else:
            tokens += _within(part.tokens_max, TOKENS_MAX, part.kind)
    for name, tool in tools.items():
        if tool.uses_max is None:
            unbounded.append(f"tool `{name}` without `uses_max`")
            continue
        calls[name] = uses = _within(tool.uses_max, TOOL_CALLS_MAX, name)
        if tool.tokens_max_each is None:
            unbounded.append(f"tool `{name}` without `tokens_max_each`")
        else:
            tokens += uses * _within(tool.tokens_max_each, TOKENS_MAX, name)
    return InputBound(min(tokens, TOKENS_MAX), calls, tuple(unbounded))


def priced(price: ModelPrice | None, bound: InputBound) -> ModelPrice | None:
    """`price`, if it says what a call of each tool costs; else it is not known."""
    if price is None or any(tool not in price.tool_usd_picos for tool in bound.tool_calls_max):
        return None
    return price


def check_bound(
    unbounded: Sequence[str], limits: Iterable[BudgetLimit], *, model: str, mission: str = ""
) -> None:
    """Raise BudgetExhausted where a hard ceiling meets what is `unbounded` in an attempt of `model`.

    Of `limits`, or of the mission itself: a profile that bounds what it may cost.
    """
    if not unbounded:
        return
    for limit in limits:
        if limit.hard and limit.unit is not Unit.REQUESTS:
            ceiling = f"budget `{limit.budget}` of `{limit.node}` is"
            raise _unbounded(unbounded, ceiling, model, budget=limit.budget, node=limit.node)
    if mission:
        ceiling = f"`cost.usd_max` of profile `{mission}` is"
        raise _unbounded(unbounded, ceiling, model, budget="", node=f"mission:{mission}")


def _unbounded(
    unbounded: Sequence[str], ceiling: str, model: str, *, budget: str, node: str
) -> BudgetExhausted:
    return BudgetExhausted(
        f"{unbounded[0]} of model `{model}` could cost anything, and {ceiling} a hard ceiling: "
        "declare how much it can be, or leave it out",
        details={
            "reason": "input_unbounded",
            "budget": budget,
            "node": node,
            "model": model,
            "unbounded": "; ".join(unbounded),
        },
    )


def _within(value: int, most: int, what: str) -> int:
    if not 0 <= value <= most:
        raise ValueError(f"`{what}` cannot have `{value}`: state 0 to {most}")
    return value
