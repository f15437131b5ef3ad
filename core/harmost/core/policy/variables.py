"""Named sub-expressions of one policy document, put into the conditions that use them.

A variable is CEL over facts and other variables; `variables.name` stands for it. It is put in as
text, in brackets, so that whatever evaluates or indexes a condition sees facts alone.
"""

import difflib
import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from harmost.core.limits import CEL_CHARS_MAX, POLICY_VARIABLES_MAX
from harmost.core.policy.cel.expression import CelProblem, Compiler, ExpressionRefused
from harmost.core.policy.facts import declared_facts

__all__ = ["Expanded", "Variables"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Strings and comments are passed over; then a reference is one wherever no name or dot precedes it.
_TOKEN = re.compile(
    r"""[bB]?[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    r"""|\"{3}(?:\\[\s\S]|[^\\])*?\"{3}|'{3}(?:\\[\s\S]|[^\\])*?'{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*"""
    r"""|(?<![\w.])variables\s*\.\s*(?P<name>[A-Za-z_]\w*)"""
    r"""|\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*(?P<item>[A-Za-z_]\w*)\s*,"""
)


_TAKEN = "the item of a macro is called like a fact: give it another name, such as `c`"


@cache
def _reserved() -> frozenset[str]:
    """What facts, and variables, begin with."""
    return frozenset(("variables", *(name.partition(".")[0] for name in declared_facts())))


class Expanded(NamedTuple):
    """An expression with its variables put in; `text` is "" where there are `problems`.

    It is "" too where it names a variable that is itself wrong: that one's problem is told already.
    """

    source: str
    text: str
    problems: tuple[CelProblem, ...]
    # Ascending: from which character of `text` on, and where in `source` that comes from; a
    # variable's own text comes from where it is named, so its `moves` is False.
    parts: tuple[tuple[int, int, bool], ...]

    def placed(self, problem: CelProblem) -> CelProblem:
        """`problem` of `text` where it stands in `source`."""
        at = _offset(self.text, problem.line, problem.column)
        start, origin, moves = self.parts[
            bisect_right(self.parts, (at, len(self.source), True)) - 1
        ]
        line, column = _position(self.source, origin + (at - start if moves else 0))
        return CelProblem(line, column, problem.message)


class Variables:
    """The variables of one document. `problems` are name and problem of all that is wrong with them."""

    def __init__(self, declared: Mapping[str, str], environment: Compiler) -> None:
        self.problems: list[tuple[str, CelProblem]] = []
        self._declared = declared
        self._texts: dict[str, str] = {}
        if len(declared) > POLICY_VARIABLES_MAX:
            message = f"document has {len(declared)} variables, more than {POLICY_VARIABLES_MAX}"
            self._wrong(next(iter(declared)), f"{message}: part it into several")
            return
        for name in self._in_order():
            self._add(name, declared[name], environment)

    def expanded(self, source: str) -> Expanded:
        """`source` with every variable put in."""
        problems: list[CelProblem] = []
        parts: list[tuple[int, int, bool]] = [(0, 0, True)]
        pieces: list[str] = []
        length = done = 0
        sound = True
        items: list[CelProblem] = []
        for match in _TOKEN.finditer(source):
            name = match["name"]
            if match["item"] in _reserved():
                items.append(CelProblem(*_position(source, match.start("item")), _TAKEN))
            if name is None:
                continue
            if name not in self._declared:
                problems.append(CelProblem(*_position(source, match.start()), self._unknown(name)))
                continue
            sound &= name in self._texts
            text = f"({self._texts.get(name, '')})"
            pieces += [source[done : match.start()], text]
            length += match.start() - done
            parts += [(length, match.start(), False), (length + len(text), match.end(), True)]
            length += len(text)
            done = match.end()
        # Inside such a macro a variable would ask about the item in the place of the fact.
        problems += items if pieces else []
        pieces.append(source[done:])
        length += len(source) - done
        if length > CEL_CHARS_MAX and pieces[1:]:
            message = f"expression has {length} characters with its variables put in, more than "
            problems.append(CelProblem(1, 1, f"{message}{CEL_CHARS_MAX}: part it into several"))
        # INVARIANT: nothing longer than that is built, however often variables name each other.
        text = "" if problems or not sound else "".join(pieces)
        return Expanded(source, text, tuple(problems), tuple(parts))

    def _in_order(self) -> list[str]:
        """Each after those that it names; those of a cycle are told and left out."""
        known = self._declared
        named = {
            name: {found for found in _references(source) if found in known}
            for name, source in known.items()
        }
        while True:
            try:
                return list(TopologicalSorter(named).static_order())
            except CycleError as error:
                cycle: list[str] = error.args[1]
                path = " → ".join(f"`{name}`" for name in reversed(cycle))
                self._wrong(cycle[0], f"variable names itself: {path}: break the circle")
                for name in cycle:
                    named.pop(name, None)
                named = {name: found - set(cycle) for name, found in named.items()}

    def _add(self, name: str, source: str, environment: Compiler) -> None:
        if not _NAME.fullmatch(name):
            self._wrong(name, "is no name: write 1 to 64 letters, digits and `_`, no digit first")
            return
        if not source.strip():
            self._wrong(name, "says nothing: write CEL")
            return
        expanded = self.expanded(source)
        problems = expanded.problems
        if expanded.text:
            try:
                environment.check(expanded.text)
                self._texts[name] = expanded.text
            except ExpressionRefused as refused:
                problems = tuple(expanded.placed(problem) for problem in refused.problems)
        self.problems += [(name, problem) for problem in problems]

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._declared, n=1)
        advice = f"did you mean `{near[0]}`?" if near else "declare it under `variables`"
        return f"variable `{name[:100]}` is not declared: {advice}"

    def _wrong(self, name: str, message: str) -> None:
        self.problems.append((name, CelProblem(0, 0, message)))


def _references(source: str) -> list[str]:
    return [match["name"] for match in _TOKEN.finditer(source) if match["name"] is not None]


def _offset(text: str, line: int, column: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return at + column - 1


def _position(source: str, at: int) -> tuple[int, int]:
    return source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)
