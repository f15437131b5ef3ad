"""CEL conditions: compiled against declared variables with every problem placed, then evaluated.

What a document may write is CEL without protobuf messages, bytes, unsigned integers, timestamps,
durations and `dyn`; patterns of `matches` are RE2 constants. That is what a later engine must be able
to do without a CEL parser. Which variables there are is decided elsewhere.

Bounds of cel-cpp that stand behind ours: recursion 32 while parsing, 10,000 loop steps while
evaluating.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

# The package has stubs but no py.typed.
from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]

from harmost.core.policy.checked import Checked, Placed, read_checked

__all__ = [
    "EXPRESSION_CHARS_MAX",
    "Activation",
    "CelProblem",
    "Environment",
    "Expression",
    "ExpressionRefused",
]

# Longer than any rule that a person reads; cel-cpp itself stops at 100,000.
EXPRESSION_CHARS_MAX = 8_192
# One wrong character can make ANTLR report a problem for each character that follows.
_PROBLEMS_MAX = 5
_PROBLEM_CHARS_MAX = 300
_NAME_CHARS_MAX = 100

# The variables of one evaluation, converted for CEL once.
Activation: TypeAlias = Any

_BOOL = cel.Type.BOOL
_TYPES: Mapping[str, Any] = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "bool": _BOOL,
    "double": cel.Type.DOUBLE,
    "list(string)": cel.Type.List(cel.Type.STRING),
    "list(int)": cel.Type.List(cel.Type.INT),
    "list(bool)": cel.Type.List(_BOOL),
    "list(double)": cel.Type.List(cel.Type.DOUBLE),
    "map(string,string)": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "map(string,int)": cel.Type.Map(cel.Type.STRING, cel.Type.INT),
}

# Tells whether a pattern is one: cel-cpp finds that out only when it first needs it.
_MATCHES = cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile('"".matches(pattern)')

_FOREIGN_TYPES = frozenset({"bytes", "uint64", "timestamp", "duration", "dyn", "type"})

_CEL_ERROR = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)


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
    """A condition that is known to give a bool. `names` are the variables that it asks about."""

    __slots__ = ("_compiled", "names", "source")

    def __init__(self, source: str, compiled: Any, names: frozenset[str]) -> None:
        self.source = source
        self.names = names
        self._compiled = compiled

    def holds(self, activation: Activation) -> tuple[bool, str]:
        """Whether the condition holds, and why that cannot be said; (False, "") is a plain no.

        About 4 us. Never raises: a variable that is missing or of another type is an error too.
        """
        return self._answer(activation=activation)

    def holds_for(self, variables: Mapping[str, Any]) -> tuple[bool, str]:
        """The same for `variables` that are asked about only once."""
        return self._answer(data=variables)

    def _answer(self, **given: Any) -> tuple[bool, str]:
        try:
            value = self._compiled.eval(**given).value()
        except (RuntimeError, ValueError, TypeError) as error:  # what the C++ binding raises
            return False, _plain(str(error))
        # An error is a value too: its text.
        return (value, "") if isinstance(value, bool) else (False, _plain(str(value)))


class Environment:
    """The variables that expressions may ask about, by dotted name; types are written as in CEL."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = frozenset(variables)
        self._env = cel.NewEnv(variables={name: _TYPES[kind] for name, kind in variables.items()})

    def activation(self, variables: Mapping[str, Any]) -> Activation:
        """`variables` for CEL; lists must be `list`, maps `dict`. About 0.4 us each."""
        return self._env.Activation(dict(variables))

    def compile(self, source: str) -> Expression:
        """Compile `source`; raises ExpressionRefused. About 0.1 ms for a usual condition."""
        compiled, checked = self._checked(source)
        not_a_bool = compiled.return_type() != _BOOL
        _refuse(source, [Placed(0, _not_a_bool(compiled))] * not_a_bool + _outside(checked))
        return Expression(source, compiled, checked.names & self._variables)

    def check(self, source: str) -> None:
        """Raises ExpressionRefused unless `source` may stand inside a condition; of any type."""
        _, checked = self._checked(source)
        _refuse(source, _outside(checked))

    def _checked(self, source: str) -> tuple[Any, Checked]:
        if len(source) > EXPRESSION_CHARS_MAX:
            message = (
                f"expression has {len(source)} characters, more than {EXPRESSION_CHARS_MAX}: "
                "part it into several"
            )
            raise ExpressionRefused((CelProblem(1, 1, message),))
        try:
            source.encode()
            compiled = self._env.compile(source)
            checked = read_checked(compiled.serialize())
        except (RuntimeError, ValueError) as error:  # also what is no Unicode text
            raise ExpressionRefused(self._problems(str(error))) from None
        return compiled, checked

    def _problems(self, said: str) -> tuple[CelProblem, ...]:
        """The problems in what cel-cpp `said`, in its order, one for each place."""
        problems: dict[tuple[int, int], CelProblem] = {}
        for line, column, message in _CEL_ERROR.findall(said):
            place = max(int(line), 1), max(int(column), 1)
            problems.setdefault(place, CelProblem(*place, self._advice(message)))
        if not problems:
            problems[1, 1] = CelProblem(1, 1, self._advice(said))
        return tuple(problems.values())[:_PROBLEMS_MAX]

    def _advice(self, said: str) -> str:
        """What cel-cpp said, in our words where they say more."""
        if "recursion" in said:
            return "expression is nested too deeply: part it into several"
        if undeclared := re.match(r"undeclared reference to '([^']*)'", said):
            name = undeclared[1][:_NAME_CHARS_MAX]
            near = difflib.get_close_matches(name, self._variables, n=1)
            advice = f"did you mean `{near[0]}`?" if near else "use a declared name"
            return f"`{name}` is not known: {advice}"
        # ANTLR lists every token that could have come instead.
        plain = _plain(said).partition(" expecting {")[0]
        return plain[:1].lower() + plain[1:]


def _refuse(source: str, problems: list[Placed]) -> None:
    if problems:
        raise ExpressionRefused(tuple(_located(source, each) for each in problems))


def _not_a_bool(compiled: Any) -> str:
    kind = compiled.return_type().name().lower()
    return f"expression gives a {kind}, not a bool: compare it with something"


def _outside(checked: Checked) -> list[Placed]:
    """What `checked` uses that a condition may not use."""
    problems = [
        Placed(at, f"`{overload}` is not for conditions: use plain values")
        for at, overload in checked.overloads
        if _FOREIGN_TYPES.intersection(overload.split("_"))
    ]
    problems += [
        Placed(at, f"`{kind}` is not for conditions: use plain values")
        for at, kind in checked.foreign
    ]
    problems += [
        Placed(at, 'the pattern of `matches` is not a constant: write it in quotes, as in "^eu-"')
        for at, _ in checked.unknown_patterns
    ]
    patterns = [(at, pattern, _pattern_problem(pattern)) for at, pattern in checked.patterns]
    return problems + [
        Placed(at, f"`{pattern[:80]}` is not for `matches`: {problem}")
        for at, pattern, problem in patterns
        if problem
    ]


def _pattern_problem(pattern: str) -> str:
    said = _MATCHES.eval(data={"pattern": pattern}).value()
    return "" if isinstance(said, bool) else _plain(said)


def _located(source: str, problem: Placed) -> CelProblem:
    line_start = source.rfind("\n", 0, problem.at) + 1
    line = source.count("\n", 0, problem.at) + 1
    return CelProblem(line, problem.at - line_start + 1, problem.text)


def _plain(said: str) -> str:
    """What cel-cpp said without its status codes, in one line, bounded."""
    said = re.sub(r"^[A-Z_]+: ", "", said)
    said = re.sub(r" \[[A-Z_]+\]$", "", said)
    return " ".join(said.split())[:_PROBLEM_CHARS_MAX]
