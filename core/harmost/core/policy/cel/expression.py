"""Compiled conditions: what they say, and what they give. Where they come from is front.py or a snapshot;
nothing here parses CEL."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from harmost.core.policy.cel.frame import Frame, Schema
from harmost.core.policy.cel.ir import Node, facts_of
from harmost.core.policy.cel.vm import Program

__all__ = ["CelProblem", "Compiler", "Expression", "ExpressionRefused"]


class CelProblem(NamedTuple):
    """What is wrong with an expression; `line` and `column` count from 1 in the expression."""

    line: int
    column: int
    message: str


class ExpressionRefused(Exception):
    """An expression that cannot be used; `problems` has at least one."""

    def __init__(self, problems: tuple[CelProblem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class Expression:
    """One compiled expression, which is known to give a `type`, written as in facts.yaml.

    `names` are the facts that it asks about.
    """

    __slots__ = ("_program", "_schema", "names", "node", "source", "type")

    def __init__(self, source: str, node: Node, schema: Schema, type: str = "bool") -> None:
        self.source = source
        self.node = node
        self.type = type
        self.names = facts_of(node)
        self._schema = schema
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        """What runs it, made when first asked for. Raises IrRefused where it does not fit the schema."""
        if self._program is None:
            self._program = Program(self.node, self._schema)
        return self._program

    def holds(self, frame: Frame) -> tuple[bool, str]:
        """Whether the condition holds, and why that cannot be said; (False, "") is a plain no.

        About 0.1 us. Never raises: a fact that is missing or of another type is an error too.
        """
        return self.program.evaluate(frame)

    def holds_for(self, values: Mapping[str, object]) -> tuple[bool, str]:
        """The same for facts that are asked about only once."""
        return self.holds(self.program.schema.frame(values))


class Compiler(Protocol):
    """Makes expressions of CEL over the facts of one schema."""

    def compile(self, source: str) -> Expression:
        """The condition `source`; raises ExpressionRefused."""
        ...

    def check(self, source: str) -> None:
        """Raises ExpressionRefused unless `source`, of any type, may stand inside a condition."""
        ...
