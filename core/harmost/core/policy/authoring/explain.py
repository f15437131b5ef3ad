"""Why a decision is what it is: which part of each condition decided, and what would change it.

Of a rule that does not match, the parts that kept it from matching and the values of their facts; of a
`require` that a candidate does not meet, the same for that candidate; and changes of one fact that
would turn a rule, or the whole decision. For people: some 0.3 ms a rule, not for the decision path.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

import msgspec

from harmost.core.policy.authoring.ask import Asker, asks_candidates
from harmost.core.policy.authoring.atoms import (
    ERROR,
    FALSE,
    TRUE,
    Outcomes,
    atoms_of,
    blamed,
    possible,
)
from harmost.core.policy.authoring.domains import Situation, Subject, domains_of, subjects_of
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.ir import Node
from harmost.core.policy.cel.text import text_of
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.policy.engine import Candidate, Engine, RuleTrace
from harmost.core.policy.facts import FactScope, FactValue, declared_facts, default_of
from harmost.core.policy.rules import CompiledRule, compile_rules
from harmost.core.privacy.classes import with_implied
from harmost.core.resources.kinds import Metadata, PolicySpec

__all__ = ["AtomTrace", "Explainer", "Explanation", "FactChange", "RuleExplained"]

MODELS_MAX = 8  # candidates whose parts are told, for each rule
FLIPS_MAX = 3  # changes that are told, for each rule
DECISION_FLIPS_MAX = 5
TRIES_MAX = 2_000  # decisions made to find those, some 20 us each
_WORDS: Mapping[Outcomes, Literal["true", "false", "error"]] = {
    TRUE: "true",
    FALSE: "false",
    ERROR: "error",
}


class AtomTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a condition and what it gave; `facts` are those it asks about.

    `model` is the candidate that it was asked about, "" where it is about the call.
    """

    text: str
    gave: Literal["true", "false", "error"]
    facts: dict[str, FactValue]
    error: str = ""
    model: str = ""


class FactChange(msgspec.Struct, frozen=True, kw_only=True):
    """One fact with another value. `model` is the candidate whose fact it is, "" of the call."""

    fact: str
    was: FactValue
    would_be: FactValue
    model: str = ""


class RuleExplained(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said. `atoms` decided that; each of `flips` alone would turn it."""

    hit: RuleHit
    matched: bool
    when: str
    require: str
    atoms: tuple[AtomTrace, ...]
    flips: tuple[FactChange, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, every rule that could apply in order, and changes that would turn its effect."""

    decision: Decision
    rules: tuple[RuleExplained, ...]
    flips: tuple[FactChange, ...]


class Explainer:
    """Explains the decisions of one engine. Several threads may not share one."""

    def __init__(self, policies: Sequence[tuple[Metadata, PolicySpec]], engine: Engine) -> None:
        rules = compile_rules(policies, fact_environment())
        self._rules = {(rule.hit.policy, rule.hit.rule): rule for rule in rules}
        self._engine = engine
        self._asker = Asker()

    def explain(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> Explanation:
        """The decision on those facts with its reasons."""
        decision, traces = self._engine.explain(request, candidates, now_s=now_s)
        told = [self._rule(trace, request, candidates) for trace in traces]
        asked = [self._rules[trace.hit.policy, trace.hit.rule] for trace in traces]
        flips = self._decision_flips(decision, asked, request, candidates, now_s)
        return Explanation(decision=decision, rules=tuple(told), flips=tuple(flips))

    def _rule(
        self,
        trace: RuleTrace,
        request: Mapping[str, FactValue],
        candidates: Sequence[Candidate],
    ) -> RuleExplained:
        rule = self._rules[trace.hit.policy, trace.hit.rule]
        atoms: list[AtomTrace] = []
        flips: list[FactChange] = []
        for node, about, turned in self._parts(rule, trace.matched, request, candidates):
            atoms += self._decisive(node, request, about)
            if not flips:
                flips = list(self._part_flips(node, request, about, turned))
        return RuleExplained(
            hit=trace.hit,
            matched=trace.matched,
            when=rule.when_text,
            require=rule.require_text,
            atoms=tuple(_distinct(atoms)),
            flips=tuple(flips[:FLIPS_MAX]),
        )

    def _parts(
        self,
        rule: CompiledRule,
        matched: bool,
        request: Mapping[str, FactValue],
        candidates: Sequence[Candidate],
    ) -> Iterator[tuple[Node, Candidate | None, Outcomes]]:
        """The conditions that tell most about `rule`: about which candidate, and what would turn it."""
        if rule.require is not None and matched:
            unmet = [
                each for each in candidates if self._gives(rule.require.node, request, each) != TRUE
            ]
            yield from ((rule.require.node, each, TRUE) for each in unmet[:MODELS_MAX])
            if unmet:
                return
        if rule.when is None:
            return
        node = rule.when.node
        turned = FALSE if matched else TRUE
        if not asks_candidates(node):
            yield node, None, turned
            return
        # Where it matches for some candidates, those are told, else all that it does not match.
        counts = TRUE if rule.hit.effect == "allow" else TRUE | ERROR
        ask = [
            each
            for each in candidates
            if bool(self._gives(node, request, each) & counts) == matched
        ]
        yield from ((node, each, turned) for each in ask[:MODELS_MAX])

    def _decisive(
        self, node: Node, request: Mapping[str, FactValue], about: Candidate | None
    ) -> Iterator[AtomTrace]:
        situation = _situation(request, about)
        for atom in blamed(node, lambda each: self._asker.outcome(each, situation)):
            outcome, error = self._asker.answer(atom, situation)
            yield AtomTrace(
                text=text_of(atom),
                gave=_WORDS[outcome],
                facts=_facts(atom, situation),
                error=error,
                model=about.name if about is not None and asks_candidates(atom) else "",
            )

    def _part_flips(
        self,
        node: Node,
        request: Mapping[str, FactValue],
        about: Candidate | None,
        turned: Outcomes,
    ) -> Iterator[FactChange]:
        """Changes of one fact after which `node` gives `turned`."""
        for change in _changes(atoms_of(node), _situation(request, about), about):
            changed = _applied(_situation(request, about), change)
            if self._outcome(node, changed) == turned:
                yield change

    def _decision_flips(
        self,
        decision: Decision,
        rules: Sequence[CompiledRule],
        request: Mapping[str, FactValue],
        candidates: Sequence[Candidate],
        now_s: int,
    ) -> list[FactChange]:
        """Changes of one request fact after which the effect is another."""
        nodes = [
            each.node for rule in rules for each in (rule.when, rule.require) if each is not None
        ]
        atoms = tuple(dict.fromkeys(atom for node in nodes for atom in atoms_of(node)))
        flips: list[FactChange] = []
        tries = 0
        for change in _changes(atoms, _situation(request, None), None):
            if declared_facts()[change.fact].scope is not FactScope.REQUEST:
                continue
            tries += 1
            if tries > TRIES_MAX or len(flips) >= DECISION_FLIPS_MAX:
                break
            changed = _applied(_situation(request, None), change).request
            if self._engine.decide(changed, candidates, now_s=now_s).effect != decision.effect:
                flips.append(change)
        return flips

    def _gives(
        self, node: Node, request: Mapping[str, FactValue], about: Candidate | None
    ) -> Outcomes:
        return self._outcome(node, _situation(request, about))

    def _outcome(self, node: Node, situation: Situation) -> Outcomes:
        return possible(node, lambda atom: self._asker.outcome(atom, situation))


def _situation(request: Mapping[str, FactValue], about: Candidate | None) -> Situation:
    return Situation(dict(request), dict(about.facts) if about is not None else {})


def _facts(atom: Node, situation: Situation) -> dict[str, FactValue]:
    """What the facts of `atom` are, those of maps by key."""
    facts: dict[str, FactValue] = {}
    for subject in sorted(subjects_of(atom), key=str):
        value = _value(subject, situation)
        if subject.key is None:
            facts[subject.fact] = default_of(subject.fact) if value is None else value
        else:
            facts[subject.fact] = _whole(subject.fact, situation)
    return facts


def _value(subject: Subject, situation: Situation) -> FactValue | None:
    """What `subject` is; None for a key that is absent."""
    whole = _whole(subject.fact, situation)
    if subject.key is None:
        return whole
    return cast("Mapping[str, str]", whole).get(subject.key)


def _whole(fact: str, situation: Situation) -> FactValue:
    for facts in situation:
        if fact in facts:
            return facts[fact]
    return default_of(fact)


def _changes(
    atoms: Sequence[Node], situation: Situation, about: Candidate | None
) -> Iterator[FactChange]:
    """Every change of one fact that could matter to `atoms`, each once; never of the tenant."""
    for subject, domain in domains_of(atoms).items():
        if subject.fact == "request.tenant":
            continue
        was = _whole(subject.fact, situation)
        tried = [was]
        of_call = declared_facts()[subject.fact].scope is FactScope.REQUEST
        model = "" if of_call or about is None else about.name
        for value in domain.values:
            for would_be in _with_value(subject, was, value):
                if would_be not in tried:
                    tried.append(would_be)
                    yield FactChange(fact=subject.fact, was=was, would_be=would_be, model=model)


def _with_value(subject: Subject, was: FactValue, value: FactValue | None) -> Iterator[FactValue]:
    """The fact with `value`: of a list one member more or fewer, of a map one key."""
    if subject.key is not None:
        mapping = dict(cast("Mapping[str, str]", was))
        mapping.pop(subject.key, None)
        yield mapping if value is None else {**mapping, subject.key: cast("str", value)}
    elif isinstance(value, list) and isinstance(was, list):
        if len(value) == 1 or subject.fact == "data.classes":
            for member in value:
                others = [each for each in was if each != member]
                more = sorted({*was, member})
                yield with_implied(more) if subject.fact == "data.classes" else more
                if len(others) < len(was):
                    yield with_implied(others) if subject.fact == "data.classes" else others
    elif value is not None:
        yield value


def _applied(situation: Situation, change: FactChange) -> Situation:
    in_request = declared_facts()[change.fact].scope is FactScope.REQUEST
    facts = situation.request if in_request else situation.candidate
    facts[change.fact] = change.would_be
    return situation


def _distinct(atoms: Sequence[AtomTrace]) -> list[AtomTrace]:
    """Each once: a part about the call is the same for every candidate."""
    return list({(atom.text, atom.model): atom for atom in atoms}.values())
