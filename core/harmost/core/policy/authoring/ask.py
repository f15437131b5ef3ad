"""Asks parts of conditions about given facts, for the tools of authors. Not for the decision path."""

from harmost.core.policy.authoring.atoms import ERROR, FALSE, TRUE, Outcomes
from harmost.core.policy.authoring.domains import Situation
from harmost.core.policy.cel.ir import Node, facts_of
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.facts import FactScope, declared_facts, fact_schema

__all__ = ["Asker", "asks_candidates"]

_KEPT_MAX = 50_000


def asks_candidates(part: Node) -> bool:
    """Whether `part` asks about a model that the call could go to."""
    declared = declared_facts()
    return any(declared[name].scope is FactScope.CANDIDATE for name in facts_of(part))


class Asker:
    """Evaluates parts of type bool, each made ready once. About 5 us a question."""

    def __init__(self) -> None:
        self._schema = fact_schema()
        self._programs: dict[Node, Program] = {}

    def outcome(self, part: Node, situation: Situation) -> Outcomes:
        """What `part` gives; facts that the situation does not name have their default."""
        return self.answer(part, situation)[0]

    def answer(self, part: Node, situation: Situation) -> tuple[Outcomes, str]:
        """What `part` gives, and why that cannot be said where it is ERROR."""
        program = self._programs.get(part)
        if program is None:
            if len(self._programs) >= _KEPT_MAX:
                self._programs.clear()
            program = self._programs[part] = Program(part, self._schema)
        frame = self._schema.frame({**situation.request, **situation.candidate})
        holds, error = program.evaluate(frame)
        return (ERROR, error) if error else (TRUE if holds else FALSE, "")
