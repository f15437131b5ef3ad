"""Compiled rules -> rule set: conditions parted into literals, each atom kept once. Control plane only."""

from collections.abc import Sequence

import msgspec

from harmost.core.policy import ir
from harmost.core.policy.expression import Expression
from harmost.core.policy.facts import candidate_fact_names
from harmost.core.policy.ir import And, Const, Node, Not, facts_of
from harmost.core.policy.normal import Alternatives, alternatives
from harmost.core.policy.rules import CompiledRule
from harmost.core.policy.ruleset import VERSION, Conjunction, RuleForm, RuleSet

__all__ = ["Lowering"]


class _Lowered(msgspec.Struct, frozen=True):
    """The conditions of one rule, atoms as bytes."""

    matches: tuple[tuple[tuple[bytes, bool], ...], ...]
    unmet: tuple[tuple[tuple[bytes, bool], ...], ...]
    when: bytes
    require: bytes
    when_asks_candidate: bool
    require_asks_candidate: bool


class Lowering:
    """Makes rule sets, and remembers what it made of each pair of conditions.

    What the last set did not use is forgotten with it, so it never holds more than one set needs.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], _Lowered] = {}

    def rule_set(self, rules: Sequence[CompiledRule]) -> RuleSet:
        """`rules`, which are in order, as a rule set. About 30 us for a rule not seen before."""
        used: dict[tuple[bytes, bytes], _Lowered] = {}
        # By their bytes: as nodes -0.0 and 0.0 are equal, and 1.0 divided by them is not.
        atoms: dict[bytes, int] = {}
        forms: list[RuleForm] = []
        for rule in rules:
            key = (_bytes(rule.when), _bytes(rule.require))
            lowered = used.get(key) or self._known.get(key) or _lowered(rule, *key)
            used[key] = lowered
            forms.append(_form(rule, lowered, atoms))
        self._known = used
        return RuleSet(VERSION, tuple(ir.decode(atom) for atom in atoms), tuple(forms))


def _bytes(condition: Expression | None) -> bytes:
    return ir.encode(condition.node) if condition is not None else b""


def _lowered(rule: CompiledRule, when_bytes: bytes, require_bytes: bytes) -> _Lowered:
    when = rule.when.node if rule.when is not None else Const("bool", True)
    require = rule.require.node if rule.require is not None else Const("bool", True)
    return _Lowered(
        matches=_encoded(alternatives(when)),
        unmet=_encoded(alternatives(And((when, Not(require))))),
        when=when_bytes,
        require=require_bytes,
        when_asks_candidate=_asks_candidate(when),
        require_asks_candidate=_asks_candidate(require),
    )


def _encoded(found: Alternatives) -> tuple[tuple[tuple[bytes, bool], ...], ...]:
    return tuple(
        tuple((ir.encode(literal.atom), literal.negated) for literal in conjunction)
        for conjunction in found
    )


def _asks_candidate(node: Node) -> bool:
    return not candidate_fact_names().isdisjoint(facts_of(node))


def _form(rule: CompiledRule, lowered: _Lowered, atoms: dict[bytes, int]) -> RuleForm:
    def numbered(found: tuple[tuple[tuple[bytes, bool], ...], ...]) -> tuple[Conjunction, ...]:
        return tuple(
            tuple(2 * atoms.setdefault(atom, len(atoms)) + negated for atom, negated in conjunction)
            for conjunction in found
        )

    return RuleForm(
        hit=rule.hit,
        tenant=rule.tenant,
        priority=rule.priority,
        matches=numbered(lowered.matches),
        unmet=numbered(lowered.unmet),
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
