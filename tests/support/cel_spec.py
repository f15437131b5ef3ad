"""The simple conformance tests of google/cel-spec as cases: what to compile, with what, and what is expected.

Read from HARMOST_DATA/conformance/cel_spec_simple.jsonl, one JSON form of a SimpleTest a line. Rows with
`disable_check` are resolved here, by name only, since the compiler itself always checks types.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cel_expr_python import cel

from harmost.cel.v1 import checked_pb2 as pb
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import CelProblem, Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.front import Environment, cel_type
from harmost.core.policy.cel.lower import lower
from harmost.core.policy.cel.values import Duration, Timestamp

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HARMOST_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "conformance" / "cel_spec_simple.jsonl"

# The expected outcome where an evaluation must fail.
ERROR = object()
# A value of a type outside the profile: equal to nothing.
FOREIGN = object()

_PRIMITIVES = {"BOOL": "bool", "INT64": "int", "DOUBLE": "double", "STRING": "string"}
_WELL_KNOWN = {"TIMESTAMP": "timestamp", "DURATION": "duration"}
_TYPE_NAMES = frozenset(
    ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type")
)
# The enums of the messages that the suite is written over, as the constants that they are.
_ENUMS = {
    f"cel.expr.conformance.{proto}.{name}": value
    for proto in ("proto2", "proto3")
    for names in (("GOO", "GAR", "GAZ"), ("NestedEnum.FOO", "NestedEnum.BAR", "NestedEnum.BAZ"))
    for value, name in enumerate(
        f"TestAllTypes.{name}" if "." in name else f"GlobalEnum.{name}" for name in names
    )
}


class Case(NamedTuple):
    """One row. `expected` is a Python value, ERROR, or FOREIGN where only a type is expected.

    `expected_type` is that of the expression, "" where none is given.
    """

    id: str
    source: str
    in_profile: bool
    expected: object
    expected_type: str
    row: Mapping[str, Any]


class Compiled(NamedTuple):
    """An expression of the suite and the facts it is to be evaluated for, by name."""

    expression: Expression
    values: dict[str, object]


def cases() -> list[Case]:
    """Every row of the file; skips the test, or fails it in CI, where there is none."""
    if not FILE.exists():
        text = f"no conformance cases at {FILE}: set HARMOST_DATA to the folder of conformance/"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return [_case(json.loads(line)) for line in FILE.read_text(encoding="utf-8").splitlines()]


def compile_case(case: Case) -> Compiled:
    """What `case` compiles to; raises ExpressionRefused where it is outside the profile."""
    try:
        types = dict(_declared(case.row))
        values = {
            name: _value(each["value"]) for name, each in case.row.get("bindings", {}).items()
        }
        for kind in types.values():
            cel_type(kind)
    except ValueError as outside:
        raise ExpressionRefused((CelProblem(1, 1, str(outside)),)) from None
    if FOREIGN in values.values():
        raise ExpressionRefused((CelProblem(1, 1, "a binding is outside the profile"),))
    container = case.row.get("container", "")
    if case.row.get("disable_check"):
        expression = _unchecked(case.source, types, container)
    else:
        schema = Schema(types, defaults=False)
        environment = Environment(schema, named=_enums(schema), container=container)
        expression = environment.compile_value(case.source)
    if case.row["section"].startswith("strong_") and isinstance(expression.node, ir.Const):
        raise ExpressionRefused((CelProblem(1, 1, "the value of a strong enum is no int"),))
    return Compiled(expression, values)


def same(answer: object, expected: object) -> bool:
    """Whether both are the same value of the same types; NaN is itself, -0.0 is not 0.0."""
    return _canonical(answer) == _canonical(expected)


def _canonical(value: object) -> object:
    if isinstance(value, list):
        return ("list", *(_canonical(item) for item in value))
    if isinstance(value, dict):
        return frozenset((_canonical(key), _canonical(item)) for key, item in value.items())
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else repr(value))
    return (type(value).__name__, value)


def _case(row: Mapping[str, Any]) -> Case:
    name = f"{row['file']}.{row['section']}.{row['name']}"
    if "eval_error" in row:
        expected: object = ERROR
    elif "value" in row:
        expected = _value(row["value"])
    elif "result" in row.get("typed_result", {}):
        expected = _value(row["typed_result"]["result"])
    else:  # as the suite has it: a row without an outcome is true
        expected = FOREIGN if "typed_result" in row or "unknown" in row else True
    deduced = row.get("typed_result", {}).get("deduced_type")
    kind = _type(deduced) if deduced else ""
    return Case(name, row["expr"], row["in_profile"], expected, kind, row)


def _declared(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for declared in row.get("type_env", []):
        if "ident" in declared:
            yield declared["name"], _type(declared["ident"]["type"])


def _type(said: Mapping[str, Any]) -> str:
    ((kind, inner),) = said.items()
    match kind:
        case "primitive":
            return _PRIMITIVES.get(inner, inner)
        case "well_known":
            return _WELL_KNOWN.get(inner, inner)
        case "list_type":
            return f"list({_type(inner['elem_type'])})"
        case "map_type":
            return f"map({_type(inner['key_type'])},{_type(inner['value_type'])})"
        case _:
            return kind


def _value(said: Mapping[str, Any]) -> object:
    ((kind, inner),) = said.items()
    match kind:
        case "null_value":
            return None
        case "bool_value" | "string_value":
            return inner
        case "int64_value":
            return int(inner)
        case "double_value":
            return float(inner)
        case "list_value":
            items = [_value(item) for item in inner.get("values", [])]
            return FOREIGN if FOREIGN in items else items
        case "map_value":
            pairs = {_value(e["key"]): _value(e["value"]) for e in inner.get("entries", [])}
            return FOREIGN if FOREIGN in (*pairs, *pairs.values()) else pairs
        case "object_value":
            return _moment(inner)
        case _:
            return FOREIGN


def _moment(said: Mapping[str, Any]) -> object:
    name, text = said.get("@type", "").rpartition(".")[2], said.get("value")
    if name == "Duration" and isinstance(text, str):
        sign = -1 if text.startswith("-") else 1
        whole, _, decimals = text.strip("-s").partition(".")
        return Duration(sign * int(whole), sign * int(decimals.ljust(9, "0") or 0))
    if name == "Timestamp" and isinstance(text, str):
        found = cel.NewEnv().compile(f"int(timestamp('{text}'))").eval().value()
        decimals = re.search(r"\.(\d+)", text)
        return Timestamp(found, int(decimals[1].ljust(9, "0")) if decimals else 0)
    return FOREIGN


def _enums(schema: Schema) -> dict[str, Expression]:
    return {
        name: Expression(str(value), ir.Const("int", value), schema, "int")
        for name, value in _ENUMS.items()
    }


@cache
def _parser() -> Any:
    return cel.NewEnv()


def _unchecked(source: str, types: Mapping[str, str], container: str) -> Expression:
    """`source` with names resolved as CEL does at run time; a name that is not known has no value."""
    try:
        parsed = _parser().compile(source, disable_check=True)
    except RuntimeError as refused:
        raise ExpressionRefused((CelProblem(1, 1, str(refused)),)) from None
    message = pb.ParsedExpr.FromString(pb.Serialized.FromString(parsed.serialize()).value)
    names = _Names({*types, *_ENUMS}, container)
    names.visit(message.expr, ())
    enums = {name: ir.Const("int", value) for name, value in _ENUMS.items()}

    def resolve(name: str) -> ir.Node | None:
        if name in enums:
            return enums[name]
        return None if name in _TYPE_NAMES else ir.Fact(name, types.get(name, "dyn"))

    lowered = lower(message.expr, names.references, {}, resolve)
    if lowered.node is None:
        raise ExpressionRefused(tuple(CelProblem(1, 1, each.text) for each in lowered.problems))
    asked = {fact.name: fact.type for fact in ir.walk(lowered.node) if isinstance(fact, ir.Fact)}
    return Expression(source, lowered.node, Schema({**types, **asked}, defaults=False), "dyn")


class _Names:
    """The full names of variables, by the ids of the expressions that name them."""

    def __init__(self, known: set[str], container: str) -> None:
        self.references: dict[int, str] = {}
        self._known = known
        parts = container.split(".") if container else []
        self._scopes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]

    def visit(self, expr: pb.Expr, bound: tuple[str, ...]) -> None:
        if name := _dotted(expr):
            self._resolve(expr, name, bound)
        match expr.WhichOneof("expr_kind"):
            case "select_expr":
                self.visit(expr.select_expr.operand, bound)
            case "call_expr":
                for part in (expr.call_expr.target, *expr.call_expr.args):
                    self.visit(part, bound)
            case "list_expr":
                for part in expr.list_expr.elements:
                    self.visit(part, bound)
            case "struct_expr":
                for entry in expr.struct_expr.entries:
                    self.visit(entry.map_key, bound)
                    self.visit(entry.value, bound)
            case "comprehension_expr":
                fold = expr.comprehension_expr
                self.visit(fold.iter_range, bound)
                self.visit(fold.loop_step, (*bound, fold.iter_var, fold.accu_var))
            case _:
                pass

    def _resolve(self, expr: pb.Expr, name: str, bound: tuple[str, ...]) -> None:
        if name.startswith("."):
            self.references[expr.id] = name[1:]
        elif name.partition(".")[0] not in bound:
            for full in (*(f"{scope}.{name}" for scope in self._scopes), name):
                if full in self._known:
                    self.references[expr.id] = full
                    return


def _dotted(expr: pb.Expr) -> str:
    """`a.b.c` where `expr` is only names and dots; "" otherwise."""
    match expr.WhichOneof("expr_kind"):
        case "ident_expr":
            return expr.ident_expr.name
        case "select_expr" if not expr.select_expr.test_only:
            inner = _dotted(expr.select_expr.operand)
            return f"{inner}.{expr.select_expr.field}" if inner else ""
        case _:
            return ""
