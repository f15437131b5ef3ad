"""Asks parts of conditions about given facts, for the tools of authors. Not for the decision path."""

from collections.abc import Mapping

from harmost.core.policy.atoms import ERROR, FALSE, TRUE, Outcomes
from harmost.core.policy.domains import Situation
from harmost.core.policy.expression import Environment, Expression
from harmost.core.policy.facts import FactScope, FactValue, declared_facts, default_of
from harmost.core.policy.ir import Node, facts_of
from harmost.core.policy.text import text_of

__all__ = ["Asker", "asks_candidates"]

_KEPT_MAX = 50_000


def asks_candidates(part: Node) -> bool:
    """Whether `part` asks about a model that the call could go to."""
    declared = declared_facts()
    return any(declared[name].scope is FactScope.CANDIDATE for name in facts_of(part))


class Asker:
    """Evaluates parts of type bool, each compiled once. About 5 us a question."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._compiled: dict[Node, Expression] = {}

    def outcome(self, part: Node, situation: Situation) -> Outcomes:
        """What `part` gives; facts that the situation does not name have their default."""
        return self.answer(part, situation.request, situation.candidate)[0]

    def answer(
        self,
        part: Node,
        request: Mapping[str, FactValue],
        candidate: Mapping[str, FactValue],
    ) -> tuple[Outcomes, str]:
        """What `part` gives, and why that cannot be said where it is ERROR."""
        expression = self._compiled.get(part)
        if expression is None:
            if len(self._compiled) >= _KEPT_MAX:
                self._compiled.clear()
            expression = self._compiled[part] = self._environment.compile(text_of(part))
        facts = {name: _value(name, request, candidate) for name in expression.names}
        holds, error = expression.holds_for(facts)
        return (ERROR, error) if error else (TRUE if holds else FALSE, "")


def _value(
    name: str, request: Mapping[str, FactValue], candidate: Mapping[str, FactValue]
) -> FactValue:
    if name in request:
        return request[name]
    return candidate[name] if name in candidate else default_of(name)
