"""Typed face of vm.pyx."""

from collections.abc import Mapping, Sequence

from harmost.core.policy.frame import Frame, Schema
from harmost.core.policy.ir import Node

class Program:
    """One expression, ready to run on frames of one schema. Immutable; many may share a frame.

    `slots` are the slots that it reads, in ascending order.
    """

    slots: tuple[int, ...]

    def __init__(self, node: Node, schema: Schema) -> None:
        """Raises IrRefused where `node` asks a fact that `schema` lacks, or has of another type."""

    def evaluate(self, frame: Frame) -> tuple[bool, str]:
        """Whether it holds, and why that cannot be said; (False, "") is a plain no. Never raises."""

    def value(self, frame: Frame) -> object:
        """What it gives, as Python; raises EvaluationError."""
