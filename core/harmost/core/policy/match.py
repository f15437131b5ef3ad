"""Where each rule matches one call, by running its conditions: what explains, and what the index must equal.

Candidates are bits of an int, the first the lowest. Without candidates the call itself is bit 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from harmost.core.policy.cel.frame import Facts, Frame, Schema
from harmost.core.policy.cel.ir import IrRefused, Node, encode, facts_of
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.decision import RuleHit
from harmost.core.policy.facts import FactValue, candidate_fact_names
from harmost.core.policy.index.normal import Literal
from harmost.core.policy.index.ruleset import RuleForm

__all__ = ["Candidate", "Match", "Matcher", "all_of"]


class Candidate(NamedTuple):
    """A model that the call could go to, and its candidate facts."""

    name: str
    facts: Mapping[str, FactValue]


class Match(NamedTuple):
    """`mask`: the candidates where `rule` matches. `unmet`: those of them that fail its `require`.

    `hit` is the rule's own, with the error that made it match, or kept it from matching.
    """

    rule: RuleForm
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
    """Runs each condition once for the call, or once for each candidate if it asks about them.

    `program` makes one of a condition's bytes.
    """

    def __init__(
        self,
        schema: Schema,
        program: Callable[[bytes], Program],
        request: Mapping[str, FactValue],
        candidates: Sequence[Facts],
    ) -> None:
        self._program = program
        self._frame = Frame(schema)
        self._frame.use(schema.request(request))
        self._tenant = str(request.get("request.tenant", ""))
        self._candidates = candidates
        self._all = all_of(candidates)
        self._answers: dict[bytes, _Answer] = {}

    def match(self, rule: RuleForm) -> Match:
        """Where `rule` matches. Errors count against the call: see the table in engine.py."""
        when = self._answer(rule.when, each=rule.when_asks_candidate)
        mask = when.holds if rule.hit.effect == "allow" else when.holds | when.fails
        error, unmet = when.error, 0
        if mask and rule.require:
            require = self._answer(rule.require, each=rule.require_asks_candidate)
            # A `require` about candidates cannot be asked where there are none.
            askable = bool(self._candidates) or not rule.require_asks_candidate
            unmet = mask & ~require.holds if askable else 0
            error = error or (require.error if unmet & require.fails else "")
        hit = rule.hit_of(self._tenant)
        hit = msgspec.structs.replace(hit, error=error) if error else hit
        return Match(rule, hit, mask, unmet)

    def missed(self, rule: RuleForm, atoms: Sequence[Node]) -> tuple[Literal, ...]:
        """The literals that fail for every candidate, of the alternative in which fewest do."""
        missed = [
            tuple(
                Literal(atoms[each >> 1], bool(each & 1))
                for each in conjunction
                if not self._where(atoms[each >> 1], rule, negated=bool(each & 1))
            )
            for conjunction in rule.matches
        ]
        return min(missed, key=len, default=())

    def _where(self, atom: Node, rule: RuleForm, *, negated: bool) -> int:
        each = not candidate_fact_names().isdisjoint(facts_of(atom))
        answer = self._answer(encode(atom), each=each)
        true = self._all & ~(answer.holds | answer.fails) if negated else answer.holds
        return true if rule.hit.effect == "allow" else true | answer.fails

    def _answer(self, condition: bytes, *, each: bool) -> _Answer:
        if not condition:
            return _Answer(self._all, 0, "")
        answer = self._answers.get(condition)
        if answer is None:
            answer = self._answers[condition] = self._asked(condition, each=each)
        return answer

    def _asked(self, condition: bytes, *, each: bool) -> _Answer:
        try:
            program = self._program(condition)
        except IrRefused as refused:  # damaged on its way: it cannot be evaluated
            return _Answer(0, self._all, str(refused))
        return self._of_each(program) if each else self._of_call(program)

    def _of_call(self, program: Program) -> _Answer:
        holds, error = program.evaluate(self._frame)
        return _Answer(self._all if holds else 0, self._all if error else 0, error)

    def _of_each(self, program: Program) -> _Answer:
        true = failed = 0
        first_error = ""
        for index, facts in enumerate(self._candidates):
            self._frame.use(facts)
            holds, error = program.evaluate(self._frame)
            true |= holds << index
            failed |= bool(error) << index
            first_error = first_error or error
        return _Answer(true, failed, first_error)
