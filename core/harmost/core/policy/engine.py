"""The seam `facts -> Decision`: which rules match a call, and what they add up to.

A rule asks about the call (request facts) or also about a model that the call could go to (candidate
facts). A rule about the call matches every candidate alike; one that asks candidate facts matches only
some, and then its effect is for those only. Without candidates, rules that ask candidate facts rest.

    effect      where it matches                                  combined
    deny        the candidate goes; all gone: the call is denied  any one suffices, first in order is named
    allow       deny rules of lower priority do not count, if     deny wins at equal priority
                they are of the policy's tenant or below it
    require     the candidate goes unless `require` is true       all must be met
    redact      the class is replaced                             union; "label" before "mask_last4"
    cap_tokens  output is limited                                 the tightest
    cap_price   the candidate goes if its expected blended price  the tightest, which also bounds the
                is above, or not known                            profile's ceiling

    redact, cap_tokens and cap_price count if they match any candidate that remains, since that one may
    be chosen. A denied call has no candidates, redactions or caps; every candidate stands in the
    exclusions.

    mode        enforce: as above. warn, shadow: named as a hit, no effect. A `require` or `cap_price`
                rule in these modes is named only where it would take out a candidate.
    rollout     Outside the percentage of tenants that a rule is enforced for, it is warn or shadow.
    expiry      From its `expires` on an exception rests: it is not asked and not named.
    errors      A condition that cannot be evaluated counts as true for every effect but allow, for
                which it counts as false; a `require` that cannot be evaluated is not met.
    tenants     A policy binds calls charged at or below its tenant; "" binds all.

Order is priority, highest first, then the document's place, then the rule's place in it. It decides
which rule is named as the reason, never what is decided.

Two ways lead to the same answer. `decide` asks an index which rules the facts do not refute: what it
costs depends on the rules that match, hardly on how many there are. `explain` runs every condition.
Equal they are held by tests; where a fact is not of its declared type, `decide` goes the second way too.
"""

from collections.abc import Mapping, Sequence

import msgspec

from harmost.core.errors import InvalidInput
from harmost.core.limits import CANDIDATES_MAX, POLICY_TENANTS_MAX
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.ir import IrRefused, decode
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.combine import combined, united
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.policy.facts import FactValue, fact_schema
from harmost.core.policy.index.decide import Candidates, Decider, View
from harmost.core.policy.index.normal import Literal
from harmost.core.policy.index.parts import Parts
from harmost.core.policy.index.ruleset import RuleForm, RuleNumbers, RuleSet, read_rule_set, written
from harmost.core.policy.match import Candidate, Match, Matcher
from harmost.core.policy.rollout import rolled_out
from harmost.core.tenants import ancestors

__all__ = ["Candidate", "Candidates", "Engine", "RuleTrace", "read_engine"]

_REDACTIONS_MAX = 64  # bits
_PROGRAMS_MAX = 4_096


class RuleTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said. `hit.error` is set where `when` could not be evaluated, matched or not.

    `missed` are the literals for whose sake it did not match: all that failed for every candidate, of
    the alternative in which fewest did. () where it matched.
    """

    hit: RuleHit
    matched: bool
    when: str
    missed: tuple[Literal, ...] = ()


class Engine:
    """Decides. One for each snapshot; what it answers never changes. One thread at a time uses it."""

    def __init__(self, rules: RuleSet, *, generation: int, schema: Schema | None = None) -> None:
        """`schema`: other facts than those declared; its `defaults` must be on."""
        self._schema = schema or fact_schema()
        self._set = rules
        self._rules = rules.rules
        self._generation = generation
        self._parts = Parts(rules, self._schema)
        # INVARIANT: what the decider holds does not hold the engine: a retired one is freed at once.
        self._texts = _Texts(rules.rules, self._schema)
        self._rollouts = _rollouts(rules.rules)
        self._views: dict[str, View] = {}
        self._decider = Decider(
            [self._numbers(number) for number in range(len(rules.rules))],
            [rule.hit for rule in rules.rules],
            [rule.hit_elsewhere for rule in rules.rules],
            generation=generation,
            redactions_of=self._texts.redactions_of,
            residuals=self._parts.residuals,
            errors_of=self._texts.errors_of,
        )

    def written(self) -> bytes:
        """The engine as bytes, for read_engine."""
        return written(self._set)

    def prepare(self, candidates: Sequence[Candidate]) -> Candidates:
        """`candidates`, at most CANDIDATES_MAX, made ready for many decisions of this engine.

        What is fixed about them is asked once: about 2 us for each rule that a tenant meets. Their facts
        are of the declared types.
        """
        facts = [self._schema.candidate(candidate.facts) for candidate in candidates]
        return Candidates(tuple(candidates), facts, self._parts.masks)

    def decide(
        self,
        request: Mapping[str, FactValue],
        candidates: Sequence[Candidate] | Candidates,
        *,
        now_s: int,
    ) -> Decision:
        """What policy says at `now_s` (Unix seconds, of a clock that never goes back: `LatestTime`).

        A fact that is absent has its default; nothing is raised. A few us for prepared candidates.
        """
        if not isinstance(candidates, Candidates):
            if len(candidates) > CANDIDATES_MAX:
                return self.explain(request, candidates, now_s=now_s)[0]
            candidates = self.prepare(candidates)
        facts: dict[str, FactValue] = request if isinstance(request, dict) else dict(request)
        tenant = facts.get("request.tenant", "")
        if type(tenant) is str:
            view = self._views.get(tenant) or self._view(tenant)
            decision = self._decider.decide(view, facts, candidates, now_s)
            if decision is not None:
                return decision
        return self.explain(facts, candidates.given, now_s=now_s)[0]

    def outcome(
        self, request: dict[str, FactValue], candidates: Candidates, *, now_s: int
    ) -> tuple[int, int, int, int, int]:
        """What `decide` says, in numbers that can be compared: for going through many decisions.

        The number of the rule that denies (see `hit`) or -1; the candidates that remain, as bits; the
        redactions, as bits; the caps of output tokens and of USD nanos for 1,000 tokens, 0 for none.
        Raises InvalidInput for a fact that is not of its declared type.
        """
        tenant = request.get("request.tenant", "")
        if type(tenant) is str:
            view = self._views.get(tenant) or self._view(tenant)
            outcome = self._decider.outcome(view, request, candidates, now_s)
            if outcome is not None:
                return outcome
        raise InvalidInput("a fact is not of its declared type: see facts.yaml for all")

    def hit(self, number: int) -> RuleHit:
        """What the rule with this number is called; 0 is the first in order."""
        return self._rules[number].hit

    def explain(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> tuple[Decision, tuple[RuleTrace, ...]]:
        """The same decision, and what each rule that binds the tenant said, in order.

        An exception that has expired says nothing. About 1 us for each rule and candidate.
        """
        facts = [self._schema.candidate(candidate.facts) for candidate in candidates]
        matcher = Matcher(self._schema, self._texts.program, request, facts)
        binding = ("", *ancestors(str(request.get("request.tenant", ""))))
        matches = [
            matcher.match(rule)
            for rule in self._rules
            if rule.tenant in binding and not rule.rests(now_s)
        ]
        names = [candidate.name for candidate in candidates]
        traces = tuple(self._trace(matcher, match) for match in matches)
        return combined(matches, names, generation=self._generation), traces

    def _trace(self, matcher: Matcher, match: Match) -> RuleTrace:
        missed = () if match.mask else matcher.missed(match.rule, self._set.atoms)
        return RuleTrace(
            hit=match.hit, matched=bool(match.mask), when=match.rule.when_text, missed=missed
        )

    def _view(self, tenant: str) -> View:
        outside = bytes(
            not rolled_out(policy, tenant, percent) for policy, percent in self._rollouts
        )
        view = View(self._parts.binding(tenant), outside)
        if len(self._views) >= POLICY_TENANTS_MAX:
            self._views.clear()
        self._views[tenant] = view
        return view

    def _numbers(self, number: int) -> RuleNumbers:
        rule = self._rules[number]
        rollout = (rule.hit.policy, rule.rollout_percent)
        allows = rule.hit.effect == "allow"
        return RuleNumbers(
            priority=rule.priority,
            output_tokens_max=rule.output_tokens_max,
            usd_nanos_max=rule.usd_nanos_per_1k_tokens_max,
            expires_s=rule.expires_s,
            redactions=sum(1 << self._texts.redactions[each] for each in rule.redactions),
            level=rule.tenant.count("/") + 1 if rule.tenant else 0,
            allows=allows,
            denies=rule.hit.effect == "deny",
            requires=bool(rule.require),
            # Of others the lanes that survive say it.
            doubtful=allows and self._parts.doubtful(number),
            enforced=rule.hit.mode == "enforce",
            rollout=self._rollouts[rollout] if rule.hit_elsewhere is not None else -1,
        )


class _Texts:
    """What a decision says beside numbers: redactions, and the errors of conditions."""

    def __init__(self, rules: Sequence[RuleForm], schema: Schema) -> None:
        self._rules = rules
        self._schema = schema
        self._programs: dict[bytes, Program] = {}
        self.redactions = _redactions(rules)

    def program(self, condition: bytes) -> Program:
        program = self._programs.get(condition)
        if program is None:
            if len(self._programs) >= _PROGRAMS_MAX:
                self._programs.clear()
            program = self._programs[condition] = Program(decode(condition), self._schema)
        return program

    def errors_of(
        self, numbers: list[int], request: dict[str, FactValue], candidates: Candidates
    ) -> list[str]:
        matcher = Matcher(self._schema, self.program, request, candidates.facts)
        return [matcher.match(self._rules[number]).hit.error for number in numbers]

    def redactions_of(self, bits: int) -> tuple[Redaction, ...]:
        return united(each for each, bit in self.redactions.items() if bits >> bit & 1)


def read_engine(data: bytes, *, generation: int) -> Engine:
    """The engine that was `written`; raises InvalidInput. Needs no CEL parser. About 10 us a rule."""
    try:
        return Engine(read_rule_set(data), generation=generation)
    except IrRefused as refused:
        raise InvalidInput(f"compiled policies cannot be used: {refused}") from None


def _rollouts(rules: Sequence[RuleForm]) -> dict[tuple[str, int], int]:
    """Policies and percentages that rules are rolled out by, numbered."""
    found = {
        (rule.hit.policy, rule.rollout_percent): None
        for rule in rules
        if rule.hit_elsewhere is not None
    }
    return {rollout: number for number, rollout in enumerate(found)}


def _redactions(rules: Sequence[RuleForm]) -> dict[Redaction, int]:
    """All that rules redact, numbered."""
    found = dict.fromkeys(redaction for rule in rules for redaction in rule.redactions)
    if len(found) > _REDACTIONS_MAX:
        message = f"policies redact in {len(found)} ways, more than {_REDACTIONS_MAX}: use fewer"
        raise InvalidInput(message)
    return {redaction: number for number, redaction in enumerate(found)}
