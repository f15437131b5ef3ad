"""Where each rule matches one call: conditions evaluated, nothing decided.

Candidates are bits of an int, the first the lowest. Without candidates the call itself is bit 0.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from harmost.core.policy.decision import RuleHit
from harmost.core.policy.expression import Expression
from harmost.core.policy.facts import FactScope, FactValue, declared_facts, fact_schema
from harmost.core.policy.frame import Frame
from harmost.core.policy.rules import CompiledRule

__all__ = ["Candidate", "Match", "Matcher", "all_of"]


class Candidate(NamedTuple):
    """A model that the call could go to, and its candidate facts."""

    name: str
    facts: Mapping[str, FactValue]


class Match(NamedTuple):
    """`mask`: the candidates where `rule` matches. `unmet`: those of them that fail its `require`.

    `hit` is the rule's own, with the error that made it match, or kept it from matching.
    """

    rule: CompiledRule
    hit: RuleHit
    mask: int
    unmet: int


class _Answer(NamedTuple):
    """Where a condition holds, where it cannot be evaluated, and why not."""

    holds: int
    fails: int
    error: str


def all_of(candidates: Sequence[object]) -> int:
    """The mask of all candidates, or of the call itself where there are none."""
    return (1 << max(1, len(candidates))) - 1


class Matcher:
    """Evaluates each condition once for the call, or once for each candidate if it asks about them."""

    def __init__(self, request: Mapping[str, FactValue], candidates: Sequence[Candidate]) -> None:
        schema = fact_schema()
        self._candidates = candidates
        self._tenant = str(request.get("request.tenant", ""))
        self._all = all_of(candidates)
        self._frame = Frame(schema)
        self._frame.use(schema.request(request))
        self._of_candidates = [schema.candidate(each.facts) for each in candidates]
        self._answers: dict[Expression, _Answer] = {}

    def match(self, rule: CompiledRule) -> Match:
        """Where `rule` matches. Errors count against the call: see the table in engine.py."""
        when = self._answer(rule.when)
        mask = when.holds if rule.hit.effect == "allow" else when.holds | when.fails
        error, unmet = when.error, 0
        if mask and rule.require is not None:
            require = self._answer(rule.require)
            unmet = mask & self._askable(rule.require) & ~require.holds
            error = error or (require.error if unmet & require.fails else "")
        hit = rule.hit_of(self._tenant)
        hit = msgspec.structs.replace(hit, error=error) if error else hit
        return Match(rule, hit, mask, unmet)

    def _answer(self, expression: Expression | None) -> _Answer:
        if expression is None:
            return _Answer(self._all, 0, "")
        answer = self._answers.get(expression)
        if answer is None:
            answer = self._answers[expression] = self._evaluated(expression)
        return answer

    def _evaluated(self, expression: Expression) -> _Answer:
        if _asks_candidates(expression):
            return self._of_each(expression)
        holds, error = expression.holds(self._frame)
        return _Answer(self._all if holds else 0, self._all if error else 0, error)

    def _of_each(self, expression: Expression) -> _Answer:
        true = failed = 0
        first_error = ""
        for index, facts in enumerate(self._of_candidates):
            self._frame.use(facts)
            holds, error = expression.holds(self._frame)
            true |= holds << index
            failed |= bool(error) << index
            first_error = first_error or error
        return _Answer(true, failed, first_error)

    def _askable(self, expression: Expression) -> int:
        """Where `expression` can be asked: nowhere if it is about candidates and there are none."""
        return 0 if _asks_candidates(expression) and not self._candidates else self._all


@cache
def _candidate_facts() -> frozenset[str]:
    facts = declared_facts().values()
    return frozenset(fact.name for fact in facts if fact.scope is FactScope.CANDIDATE)


def _asks_candidates(expression: Expression) -> bool:
    return not _candidate_facts().isdisjoint(expression.names)
