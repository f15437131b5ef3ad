"""How much input an attempt can turn out to have, and what no one can bound. Pure.

Text has no more tokens than bytes. A picture, a sound and a document have as many as their model's
document says at the most; where it says nothing no hold covers them, and a hard ceiling of money or
tokens denies. A ceiling of requests does not mind.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harmost.core.budget.nodes import BudgetLimit, Unit
from harmost.core.chat import Media, MediaKind, Message
from harmost.core.errors import BudgetExhausted

__all__ = ["MediaBound", "check_bound", "media_bound"]


class MediaBound(NamedTuple):
    """At the most so many tokens, but for the kinds that `unbounded` names."""

    tokens_max: int = 0
    unbounded: tuple[str, ...] = ()


def media_bound(messages: Iterable[Message], tokens_max: Mapping[MediaKind, int]) -> MediaBound:
    """What media in `messages` can be for a model that bounds one of each kind by `tokens_max`."""
    kinds: list[MediaKind] = [p.kind for m in messages for p in m.parts if isinstance(p, Media)]
    unbounded = tuple(dict.fromkeys(kind for kind in kinds if kind not in tokens_max))
    return MediaBound(sum(tokens_max.get(kind, 0) for kind in kinds), unbounded)


def check_bound(model: str, unbounded: Sequence[str], limits: Iterable[BudgetLimit]) -> None:
    """Raise BudgetExhausted where a hard ceiling of `limits` meets the `unbounded`, at least one."""
    for limit in limits:
        if limit.hard and limit.unit is not Unit.REQUESTS:
            raise BudgetExhausted(
                f"`{unbounded[0]}` input of model `{model}` could cost anything, and budget "
                f"`{limit.budget}` of `{limit.node}` is hard: state `media_tokens_max` of the model",
                details={
                    "reason": "input_unbounded",
                    "budget": limit.budget,
                    "node": limit.node,
                    "model": model,
                    "unbounded": ", ".join(unbounded),
                },
            )
