"""Where data of a class stands in a text."""

from typing import NamedTuple

__all__ = ["Span"]


class Span(NamedTuple):
    """Characters `start` up to, not including, `end` are of class `data_class`."""

    start: int
    end: int
    data_class: str
