"""Enums of the protos as the literals of the domain, and back."""

from collections.abc import Mapping
from typing import TypeVar

from harmost.core.errors import InvalidInput, Violation

__all__ = ["literal"]

_Literal = TypeVar("_Literal", bound=str)


def literal(names: Mapping[int, _Literal], number: int, *, field: str) -> _Literal:
    """The literal that `number` stands for; raises InvalidInput naming `field` where it is none."""
    name = names.get(number)
    if name is None:
        raise InvalidInput(
            f"`{field}` is {number}, which means nothing here: set one of {', '.join(names.values())}",
            violations=[Violation(field, f"is {number}: set one of {', '.join(names.values())}")],
        )
    return name
