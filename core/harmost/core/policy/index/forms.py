"""Compiled rules -> rule set: conditions parted into literals, each atom kept once. Control plane only."""

from collections.abc import Sequence

import msgspec

from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import Expression
from harmost.core.policy.cel.ir import And, Const, Node, Not, facts_of
from harmost.core.policy.facts import candidate_fact_names
from harmost.core.policy.index.normal import Alternatives, alternatives
from harmost.core.policy.index.ruleset import VERSION, Conjunction, RuleForm, RuleSet
from harmost.core.policy.rules import CompiledRule

__all__ = ["Lowering"]

_TRUE = Const("bool", True)
_ATOMS_FEW = 256


class _Lowered(msgspec.Struct, frozen=True):
    """The conditions of one rule."""

    matches: tuple[Conjunction, ...]
    unmet: tuple[Conjunction, ...]
    when: bytes
    require: bytes
    when_asks_candidate: bool
    require_asks_candidate: bool


class Lowering:
    """Makes one rule set after the other, each time only of the conditions that are new.

    Atoms keep their numbers from set to set. Those that are used no more stay, until there are twice
    as many as one set needs: then all is begun anew.
    """

    def __init__(self) -> None:
        # Expressions are remembered where they are compiled, and compared by identity.
        self._known: dict[tuple[Expression | None, Expression | None], _Lowered] = {}
        # By their bytes: as nodes -0.0 and 0.0 are equal, and 1.0 divided by them is not.
        self._numbers: dict[bytes, int] = {}
        self._atoms: list[Node] = []
        self._atoms_max = _ATOMS_FEW

    def rule_set(self, rules: Sequence[CompiledRule]) -> RuleSet:
        """`rules`, which are in order, as a rule set. About 30 us for a condition not seen before."""
        if len(self._atoms) > self._atoms_max:
            self._known, self._numbers, self._atoms = {}, {}, []
        begun_anew = not self._atoms
        used: dict[tuple[Expression | None, Expression | None], _Lowered] = {}
        forms: list[RuleForm] = []
        for rule in rules:
            key = (rule.when, rule.require)
            lowered = used[key] = self._known.get(key) or used.get(key) or self._lowered(*key)
            forms.append(_form(rule, lowered))
        self._known = used
        if begun_anew:
            self._atoms_max = 2 * len(self._atoms) + _ATOMS_FEW
        return RuleSet(VERSION, tuple(self._atoms), tuple(forms))

    def _lowered(self, when: Expression | None, require: Expression | None) -> _Lowered:
        condition = when.node if when is not None else _TRUE
        required = require.node if require is not None else _TRUE
        return _Lowered(
            matches=self._numbered(alternatives(condition)),
            unmet=self._numbered(alternatives(And((condition, Not(required))))),
            when=ir.encode(condition) if when is not None else b"",
            require=ir.encode(required) if require is not None else b"",
            when_asks_candidate=_asks_candidate(condition),
            require_asks_candidate=_asks_candidate(required),
        )

    def _numbered(self, found: Alternatives) -> tuple[Conjunction, ...]:
        return tuple(
            tuple(2 * self._number(literal.atom) + literal.negated for literal in conjunction)
            for conjunction in found
        )

    def _number(self, atom: Node) -> int:
        number = self._numbers.setdefault(ir.encode(atom), len(self._atoms))
        if number == len(self._atoms):
            self._atoms.append(atom)
        return number


def _asks_candidate(node: Node) -> bool:
    return not candidate_fact_names().isdisjoint(facts_of(node))


def _form(rule: CompiledRule, lowered: _Lowered) -> RuleForm:
    return RuleForm(
        hit=rule.hit,
        tenant=rule.tenant,
        priority=rule.priority,
        matches=lowered.matches,
        unmet=lowered.unmet,
        when=lowered.when,
        require=lowered.require,
        redactions=rule.redactions,
        output_tokens_max=rule.output_tokens_max,
        usd_nanos_per_1k_tokens_max=rule.usd_nanos_per_1k_tokens_max,
        rollout_percent=rule.rollout_percent,
        hit_elsewhere=rule.hit_elsewhere,
        expires_s=rule.expires_s,
        when_text=rule.when_text,
        when_asks_candidate=lowered.when_asks_candidate,
        require_asks_candidate=lowered.require_asks_candidate,
    )
