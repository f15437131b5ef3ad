"""Puts attributes on spans, events and data points, under the names that one convention gives them."""

from collections.abc import Iterable
from typing import Protocol

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from harmost.core.otel.conventions import ATTRIBUTES, Conventions, names

__all__ = ["Attributes"]

CHARS_MAX = 512  # of a text: longer ones are cut, as OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT would


class _Attributed(Protocol):
    """A span, event or data point."""

    @property
    def attributes(self) -> "_Added": ...


class _Added(Protocol):
    def add(self, *, key: str) -> KeyValue: ...


class Attributes:
    """One method for each type of ATTRIBUTES. Absent texts and lists put nothing."""

    def __init__(self, conventions: Conventions) -> None:
        self._names = {key: names(key, conventions) for key in ATTRIBUTES}

    def text(self, on: _Attributed, key: str, value: str) -> None:
        """Put a string; none where it is empty."""
        if value:
            for name in self._names[key]:
                on.attributes.add(key=name).value.string_value = value[:CHARS_MAX]

    def number(self, on: _Attributed, key: str, value: int) -> None:
        """Put an integer, 0 too."""
        for name in self._names[key]:
            on.attributes.add(key=name).value.int_value = value

    def real(self, on: _Attributed, key: str, value: float) -> None:
        """Put a double."""
        for name in self._names[key]:
            on.attributes.add(key=name).value.double_value = value

    def flag(self, on: _Attributed, key: str, value: bool) -> None:
        """Put a boolean, False too."""
        for name in self._names[key]:
            on.attributes.add(key=name).value.bool_value = value

    def texts(self, on: _Attributed, key: str, values: Iterable[str]) -> None:
        """Put a list of strings; none where it is empty."""
        for name in self._names[key] if (listed := list(values)) else ():
            array = on.attributes.add(key=name).value.array_value
            for value in listed:
                array.values.add(string_value=value[:CHARS_MAX])
