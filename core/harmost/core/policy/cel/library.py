"""Expressions compiled by whoever has the CEL compiler, for those who have not.

The control plane compiles through a library and writes it down; a reader gets the same expressions out of
it by asking for the same text over the same facts. A text that is not in it is refused there.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from harmost.core.errors import InvalidInput
from harmost.core.limits import CEL_LIBRARY_BYTES_MAX
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import CelProblem, Compiler, Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema

__all__ = ["CompilerOf", "Library", "read_library"]

# Makes the compiler of expressions over a schema: front.Environment is one, Library.over another.
CompilerOf: TypeAlias = Callable[[Schema], Compiler]

# Which facts (see `_facts_of`) -> text -> tree as ir.encode writes it.
_Trees: TypeAlias = dict[str, dict[str, bytes]]


class Library:
    """Expressions by facts and text. With `compiler_of` it compiles, and keeps, what it lacks."""

    def __init__(
        self,
        trees: Mapping[str, Mapping[str, bytes]] | None = None,
        compiler_of: CompilerOf | None = None,
    ) -> None:
        self._trees: _Trees = {facts: dict(texts) for facts, texts in (trees or {}).items()}
        self._compiler_of = compiler_of

    def over(self, schema: Schema) -> Compiler:
        """The compiler of conditions over `schema`."""
        compiler = self._compiler_of(schema) if self._compiler_of else None
        return _Shelf(self._trees.setdefault(_facts_of(schema), {}), schema, compiler)

    def written(self) -> bytes:
        """All that it holds as bytes, for read_library. Equal libraries give equal bytes."""
        ordered = {
            facts: dict(sorted(texts.items()))
            for facts, texts in sorted(self._trees.items())
            if texts
        }
        return msgspec.msgpack.encode(ordered)


def read_library(data: bytes) -> Library:
    """The library in `data`, which cannot compile. Raises InvalidInput; hostile bytes do no harm.

    Trees are checked when they are asked for.
    """
    if len(data) > CEL_LIBRARY_BYTES_MAX:
        raise InvalidInput(f"compiled conditions have more than {CEL_LIBRARY_BYTES_MAX} bytes")
    try:
        return Library(msgspec.msgpack.decode(data, type=_Trees))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"compiled conditions are unreadable: {error}; apply the documents again"
        raise InvalidInput(problem) from None


def _facts_of(schema: Schema) -> str:
    """What tells schemas apart: names and types."""
    named = msgspec.json.encode(dict(zip(schema.names, schema.types, strict=True)))
    return hashlib.sha256(named).hexdigest()


class _Shelf:
    """The expressions over one schema, by text."""

    def __init__(self, trees: dict[str, bytes], schema: Schema, compiler: Compiler | None) -> None:
        self._trees = trees
        self._schema = schema
        self._compiler = compiler

    def compile(self, source: str) -> Expression:
        if source in self._trees:
            return self._loaded(source)
        if self._compiler is None:
            message = "expression was not compiled: apply the documents again"
            raise ExpressionRefused((CelProblem(1, 1, message),))
        expression = self._compiler.compile(source)
        self._trees[source] = ir.encode(expression.node)
        return expression

    def _loaded(self, source: str) -> Expression:
        try:
            expression = Expression(source, ir.decode(self._trees[source]), self._schema)
            expression.program.slots  # noqa: B018 - made here, so that it cannot be refused later
        except ir.IrRefused as refused:
            raise ExpressionRefused((CelProblem(1, 1, str(refused)),)) from None
        return expression

    def check(self, source: str) -> None:
        if self._compiler is not None:
            self._compiler.check(source)
