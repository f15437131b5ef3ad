"""A type-checked expression of cel-cpp as a tree of ir.py: names put in, macros recognized, types gone.

Reads the protobuf messages of `harmost.cel.v1`, and is the only module of core that does. What is
outside the profile becomes a problem with its place; see profile.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, get_args

from google.protobuf.message import DecodeError

from harmost.cel.v1 import checked_pb2 as pb
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.pattern import compile_pattern
from harmost.core.policy.cel.profile import OVERLOADS, advice

__all__ = ["Lowered", "Placed", "Resolve", "lower", "lower_checked"]

_COMPARISONS: Mapping[str, ir.Comparison] = {
    "_==_": "==",
    "_!=_": "!=",
    "_<_": "<",
    "_<=_": "<=",
    "_>_": ">",
    "_>=_": ">=",
}
_ARITHMETIC: Mapping[str, ir.Operator] = {
    "_+_": "+",
    "_-_": "-",
    "_*_": "*",
    "_/_": "/",
    "_%_": "%",
}
_FUNCTIONS: Mapping[str, ir.Function] = {name: name for name in get_args(ir.Function)}
_TRUE = ir.Const("bool", True)

# What the variable of that name is; None if there is none.
Resolve: TypeAlias = Callable[[str], "ir.Node | None"]


class Placed(NamedTuple):
    """Something that stands at character `at` of the source, counted from 0."""

    at: int
    text: str


class Lowered(NamedTuple):
    """The tree, or what is wrong: exactly one is there."""

    node: ir.Node | None
    problems: tuple[Placed, ...]


def lower_checked(serialized: bytes, resolve: Resolve) -> Lowered:
    """The tree of what `Expression.serialize()` gave. Raises ValueError where that is nested too deeply
    to be read."""
    try:
        message = pb.Serialized.FromString(serialized).value
        checked = pb.CheckedExpr.FromString(message)
    except DecodeError as error:
        raise ValueError(f"recursion: {error}") from None
    references = {key: said.name for key, said in checked.reference_map.items() if said.name}
    overloads = {
        key: said.overload_id[0]
        for key, said in checked.reference_map.items()
        if said.overload_id and OVERLOADS.isdisjoint(said.overload_id)
    }
    positions = checked.source_info.positions
    return lower(checked.expr, references, positions, resolve, foreign=overloads)


def lower(
    expr: pb.Expr,
    references: Mapping[int, str],
    positions: Mapping[int, int],
    resolve: Resolve,
    *,
    foreign: Mapping[int, str] | None = None,
) -> Lowered:
    """The tree of `expr`. By the ids of expressions: `references` are the full names of variables,
    `positions` the places in the source, `foreign` the overloads outside the profile."""
    lowering = _Lowering(references, positions, resolve, foreign or {})
    try:
        node = lowering.node(expr)
    except RecursionError:
        raise ValueError("recursion") from None
    if lowering.problems:
        return Lowered(None, tuple(sorted(set(lowering.problems))))
    return Lowered(node, ())


class _Lowering:
    """Walks one expression. `_locals` are the names that macros bind, the innermost last."""

    def __init__(
        self,
        references: Mapping[int, str],
        positions: Mapping[int, int],
        resolve: Resolve,
        foreign: Mapping[int, str],
    ) -> None:
        self.problems: list[Placed] = []
        self._references = references
        self._positions = positions
        self._resolve = resolve
        self._foreign = foreign
        self._locals: list[str] = []

    def node(self, expr: pb.Expr) -> ir.Node:
        match expr.WhichOneof("expr_kind"):
            case "const_expr":
                return self._constant(expr)
            case "ident_expr":
                return self._name(expr)
            case "select_expr":
                return self._select(expr)
            case "call_expr":
                return self._call(expr)
            case "list_expr":
                return self._list(expr)
            case "struct_expr":
                return self._map(expr)
            case "comprehension_expr":
                return self._macro(expr)
            case _:
                return self._refused(expr, "expression is empty: write a condition")

    def _refused(self, expr: pb.Expr, problem: str) -> ir.Node:
        self.problems.append(Placed(self._positions.get(expr.id, 0), problem))
        return _TRUE

    def _outside(self, expr: pb.Expr, what: str, kind: str = "") -> ir.Node:
        return self._refused(expr, advice(what, kind))

    def _constant(self, expr: pb.Expr) -> ir.Node:
        constant = expr.const_expr
        match constant.WhichOneof("constant_kind"):
            case "bool_value":
                return ir.Const("bool", constant.bool_value)
            case "int64_value":
                return ir.Const("int", constant.int64_value)
            case "double_value":
                return ir.Const("double", constant.double_value)
            case "string_value":
                return ir.Const("string", constant.string_value)
            case "null_value":
                return ir.Const("null", None)
            case "uint64_value":
                return self._outside(expr, f"{constant.uint64_value}u", "uint")
            case _:
                return self._outside(expr, "bytes")

    def _name(self, expr: pb.Expr) -> ir.Node:
        name = expr.ident_expr.name
        if name in self._locals:
            return ir.Local(self._locals[::-1].index(name))
        return self._variable(expr, self._references.get(expr.id, name))

    def _variable(self, expr: pb.Expr, name: str) -> ir.Node:
        found = self._resolve(name.removeprefix("."))
        return self._outside(expr, name, "type") if found is None else found

    def _select(self, expr: pb.Expr) -> ir.Node:
        select = expr.select_expr
        if expr.id in self._references:  # a dotted name, such as `data.classes`
            return self._variable(expr, self._references[expr.id])
        operand = self.node(select.operand)
        if select.test_only:
            return ir.Has(operand, select.field)
        return ir.Index(operand, ir.Const("string", select.field))

    def _call(self, expr: pb.Expr) -> ir.Node:
        call = expr.call_expr
        function = call.function
        receiver = [self.node(call.target)] if call.HasField("target") else []
        args = (*receiver, *(self.node(arg) for arg in call.args))
        if overload := self._foreign.get(expr.id):
            return self._outside(expr, function if function.isidentifier() else overload, overload)
        match function, args:
            case "_&&_", (_, _):
                return ir.And(_flat(ir.And, args))
            case "_||_", (_, _):
                return ir.Or(_flat(ir.Or, args))
            case "!_", (arg,):
                return ir.Not(arg)
            case "-_", (_,):
                return ir.Arithmetic("-", args)
            case "_?_:_", (condition, then, otherwise):
                return ir.If(condition, then, otherwise)
            case "_[_]", (container, key):
                return ir.Index(container, key)
            case "@in", (item, container):
                return ir.In(item, container)
            case _, (left, right) if function in _COMPARISONS:
                return ir.Compare(_COMPARISONS[function], left, right)
            case _, (_, _) if function in _ARITHMETIC:
                return ir.Arithmetic(_ARITHMETIC[function], args)
            case _:
                return self._named_call(expr, args)

    def _named_call(self, expr: pb.Expr, args: tuple[ir.Node, ...]) -> ir.Node:
        function = _FUNCTIONS.get(expr.call_expr.function)
        if function is None or len(args) != ir.ARITY[function]:
            return self._outside(expr, expr.call_expr.function)
        if function == "matches":
            self._check_pattern(expr.call_expr.args[-1], args[-1])
        return ir.Call(function, args)

    def _check_pattern(self, expr: pb.Expr, pattern: ir.Node) -> None:
        if not isinstance(pattern, ir.Const) or not isinstance(pattern.value, str):
            problem = 'the pattern of `matches` is not a constant: write it in quotes, as in "^eu-"'
            self._refused(expr, problem)
            return
        try:
            compile_pattern(pattern.value)
        except ValueError as error:
            self._refused(expr, f"`{pattern.value[:80]}` is not for `matches`: {error}")

    def _list(self, expr: pb.Expr) -> ir.Node:
        if expr.list_expr.optional_indices:
            return self._outside(expr, "?", "optional")
        return ir.ListOf(tuple(self.node(item) for item in expr.list_expr.elements))

    def _map(self, expr: pb.Expr) -> ir.Node:
        struct = expr.struct_expr
        if struct.message_name:
            return self._outside(expr, struct.message_name, "message")
        if any(entry.optional_entry for entry in struct.entries):
            return self._outside(expr, "?", "optional")
        return ir.MapOf(
            tuple(self.node(entry.map_key) for entry in struct.entries),
            tuple(self.node(entry.value) for entry in struct.entries),
        )

    def _macro(self, expr: pb.Expr) -> ir.Node:
        fold = expr.comprehension_expr
        macro = _macro_of(fold)
        if macro is None or fold.iter_var2:
            return self._outside(expr, "macro with two variables")
        over = self.node(fold.iter_range)
        self._locals.append(fold.iter_var)
        test = _TRUE if macro.test is None else self.node(macro.test)
        value = None if macro.value is None else self.node(macro.value)
        self._locals.pop()
        return ir.Each(macro.name, over, test, value)


def _flat(kind: type[ir.And] | type[ir.Or], args: Sequence[ir.Node]) -> tuple[ir.Node, ...]:
    parts = [arg.args if isinstance(arg, kind) else (arg,) for arg in args]
    return tuple(part for each in parts for part in each)


class _Macro(NamedTuple):
    name: ir.Macro
    test: pb.Expr | None
    value: pb.Expr | None = None


def _macro_of(fold: pb.Expr.Comprehension) -> _Macro | None:
    """The macro that became `fold`: each leaves a fold of its own shape, and nothing else makes folds."""
    step = fold.loop_step.call_expr
    start = fold.accu_init.const_expr.WhichOneof("constant_kind")
    match step.function, start:
        case "_&&_", "bool_value":
            return _Macro("all", step.args[1])
        case "_||_", "bool_value":
            return _Macro("exists", step.args[1])
        case "_?_:_", "int64_value":
            return _Macro("exists_one", step.args[0])
        case "_?_:_", None:
            value = _added(step.args[1])
            if value.ident_expr.name == fold.iter_var:
                return _Macro("filter", step.args[0])
            return _Macro("map", step.args[0], value)
        case "_+_", None:
            return _Macro("map", None, _added(fold.loop_step))
        case _:
            return None


def _added(expr: pb.Expr) -> pb.Expr:
    """What `accumulator + [it]` adds."""
    return expr.call_expr.args[1].list_expr.elements[0]
