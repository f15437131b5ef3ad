"""The CEL compiler: source in, `Expression` or every problem with its place out.

cel-cpp parses and checks types; lower.py makes a tree of what it found, which is all that is kept. This
is the only module that loads cel-cpp, and it does so when something is first compiled: a process that
only decides never has it.
"""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from harmost.core.limits import CEL_CHARS_MAX, CEL_COST_MAX
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.cost import cost_of
from harmost.core.policy.cel.expression import CelProblem, Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.lower import Placed, lower_checked
from harmost.core.policy.facts import fact_schema

__all__ = ["Environment", "cel_type", "fact_environment"]

# One wrong character can make ANTLR report a problem for each character that follows.
_PROBLEMS_MAX = 5
_PROBLEM_CHARS_MAX = 300
_NAME_CHARS_MAX = 100

_TYPES = ("bool", "int", "double", "string", "timestamp", "duration", "null", "dyn")

_CALLED = (*get_args(ir.Function), *get_args(ir.Macro), "has")

_CEL_ERROR = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)


class Environment:
    """Compiles over the facts of `schema` and over `named` expressions, which are put in by name.

    `container` is where names are looked up first, as in CEL.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        named: Mapping[str, Expression] | None = None,
        container: str = "",
    ) -> None:
        self.schema = schema
        self._named = dict(named or {})
        self._facts = dict(zip(schema.names, schema.types, strict=True))
        types = {**self._facts, **{name: each.type for name, each in self._named.items()}}
        self._variables = frozenset(types)
        self._container = container
        variables = {name: cel_type(kind) for name, kind in types.items()}
        self._env = _cel().NewEnv(variables=variables, container=container or None)

    def compile(self, source: str) -> Expression:
        """The condition `source`; raises ExpressionRefused. About 0.1 ms for a usual one."""
        expression = self.compile_value(source)
        if expression.type != "bool":
            message = f"expression gives a {expression.type}, not a bool: compare it with something"
            raise ExpressionRefused((CelProblem(1, 1, message),))
        return expression

    def check(self, source: str) -> None:
        """Raises ExpressionRefused unless `source`, of any type, may stand inside a condition."""
        self.compile_value(source)

    def compile_value(self, source: str) -> Expression:
        """The expression `source` of whatever type; raises ExpressionRefused."""
        if len(source) > CEL_CHARS_MAX:
            message = (
                f"expression has {len(source)} characters, more than {CEL_CHARS_MAX}: "
                "part it into several"
            )
            raise ExpressionRefused((CelProblem(1, 1, message),))
        try:
            source.encode()
            compiled = self._env.compile(source)
            lowered = lower_checked(compiled.serialize(), self.resolve)
        except (RuntimeError, ValueError) as error:  # also what is no Unicode text
            raise ExpressionRefused(self._problems(source, str(error))) from None
        if lowered.node is None:
            problems = lowered.problems[:_PROBLEMS_MAX]
            raise ExpressionRefused(tuple(_located(source, each) for each in problems))
        return self._bounded(source, lowered.node, _type_name(compiled.return_type()))

    def resolve(self, name: str) -> ir.Node | None:
        """What the variable `name` is in a tree."""
        if name in self._named:
            return self._named[name].node
        return ir.Fact(name, self._facts[name]) if name in self._facts else None

    def _unknown(self, name: str, called: bool) -> str:
        known = _CALLED if called else self._variables
        otherwise = "see docs/cel.md for all functions" if called else "use a declared name"
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean `{near[0]}`?" if near else otherwise
        return f"`{name}` is not known: {advice}"

    def _bounded(self, source: str, node: ir.Node, kind: str) -> Expression:
        try:
            ir.check(node)
        except ir.IrRefused as refused:
            raise ExpressionRefused((CelProblem(1, 1, str(refused)),)) from None
        # Only after the check: with named expressions put in, a tree may be too large to walk.
        cost = cost_of(node)
        if cost > CEL_COST_MAX:
            message = (
                f"evaluation may take {cost} steps, more than {CEL_COST_MAX}: "
                "use fewer macros inside each other"
            )
            raise ExpressionRefused((CelProblem(1, 1, message),))
        return Expression(source, node, self.schema, kind)

    def _problems(self, source: str, said: str) -> tuple[CelProblem, ...]:
        """The problems in what cel-cpp `said`, in its order, one for each place."""
        problems: dict[tuple[int, int], CelProblem] = {}
        lines = source.split("\n")
        for line, column, message in _CEL_ERROR.findall(said):
            place = max(int(line), 1), max(int(column), 1)
            # cel-cpp places a call at its bracket.
            called = lines[min(place[0], len(lines)) - 1][place[1] - 1 :].startswith("(")
            problems.setdefault(place, CelProblem(*place, self._advice(message, called)))
        if not problems:
            problems[1, 1] = CelProblem(1, 1, self._advice(said, called=False))
        return tuple(problems.values())[:_PROBLEMS_MAX]

    def _advice(self, said: str, called: bool) -> str:
        """What cel-cpp said, in our words where they say more."""
        if "recursion" in said:
            return "expression is nested too deeply: part it into several"
        if undeclared := re.match(r"undeclared reference to '([^']*)'", said):
            return self._unknown(undeclared[1][:_NAME_CHARS_MAX], called)
        # ANTLR lists every token that could have come instead.
        plain = _plain(said).partition(" expecting {")[0]
        return plain[:1].lower() + plain[1:]


def fact_environment() -> Environment:
    """One over all declared facts."""
    return Environment(fact_schema())


@cache
def _cel() -> Any:
    # The package has stubs but no py.typed.
    from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]

    return cel


def cel_type(name: str) -> Any:
    """cel-cpp's type of that name, such as `map(string,int)`; ValueError if it is outside the profile."""
    name = name.replace(" ", "")
    if name in _TYPES:
        return getattr(_cel().Type, name.upper())
    outer, _, inner = name.removesuffix(")").partition("(")
    if outer == "list" and inner:
        return _cel().Type.List(cel_type(inner))
    if outer == "map" and "," in inner:
        key, _, item = inner.partition(",")
        return _cel().Type.Map(cel_type(key), cel_type(item))
    raise ValueError(
        f"`{name}` is no type of the profile: use one of {', '.join(_TYPES)}, list, map"
    )


def _type_name(kind: Any) -> str:
    """The inverse of `cel_type`."""
    name: str = kind.name()
    return name.lower().replace("<", "(").replace(">", ")").replace(" ", "")


def _located(source: str, problem: Placed) -> CelProblem:
    line_start = source.rfind("\n", 0, problem.at) + 1
    line = source.count("\n", 0, problem.at) + 1
    return CelProblem(line, problem.at - line_start + 1, problem.text)


def _plain(said: str) -> str:
    """What cel-cpp said without its status codes, in one line, bounded."""
    said = re.sub(r"^[A-Z_]+: ", "", said)
    said = re.sub(r" \[[A-Z_]+\]$", "", said)
    return " ".join(said.split())[:_PROBLEM_CHARS_MAX]
