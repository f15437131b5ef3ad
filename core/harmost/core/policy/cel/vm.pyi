"""Typed face of vm.pyx."""

from harmost.core.policy.cel.frame import Frame, Schema
from harmost.core.policy.cel.ir import Node

class EvaluationError(Exception):
    """An expression has no value for these facts; the text says why."""

class Program:
    """One tree, ready to run on frames of `schema`. Immutable.

    `slots` are those that it reads, in ascending order.
    """

    @property
    def schema(self) -> Schema: ...
    @property
    def slots(self) -> tuple[int, ...]: ...
    def __init__(self, node: Node, schema: Schema) -> None:
        """Raises IrRefused where `node` asks a fact that `schema` lacks or has of another type, or a
        pattern is none of RE2."""

    def evaluate(self, frame: Frame) -> tuple[bool, str]:
        """Whether it holds, and why that cannot be said; (False, "") is a plain no.

        About 0.1 us for a usual condition, without allocation. Raises ValueError if `frame` is of
        another schema, and nothing else.
        """

    def value(self, frame: Frame) -> object:
        """What it gives, as Python (see values.py); raises EvaluationError."""
