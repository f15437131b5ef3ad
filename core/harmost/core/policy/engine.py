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

This engine runs every condition that binds the tenant, once: about 0.1 us each.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from harmost.core.policy.combine import combined
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.policy.facts import FactValue
from harmost.core.policy.front import fact_environment
from harmost.core.policy.match import Candidate, Match, Matcher
from harmost.core.policy.rules import CompiledRule, compile_rules
from harmost.core.resources.kinds import Metadata, PolicySpec
from harmost.core.tenants import ancestors

__all__ = ["Candidate", "Engine", "RuleTrace", "compile_policies"]


class RuleTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said. `hit.error` is set where `when` could not be evaluated, matched or not."""

    hit: RuleHit
    matched: bool
    when: str


class Engine(Protocol):
    """Decides. Immutable: one for each snapshot."""

    def decide(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> Decision:
        """What policy says at `now_s` (Unix seconds, of a clock that never goes back: `LatestTime`).

        A fact that is absent has its default; nothing is raised.
        """
        ...

    def explain(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> tuple[Decision, tuple[RuleTrace, ...]]:
        """The same decision, and what each rule that binds the tenant said, in order.

        An exception that has expired says nothing.
        """
        ...


def compile_policies(policies: Sequence[tuple[Metadata, PolicySpec]], *, generation: int) -> Engine:
    """An engine for `policies`, or PoliciesRefused with all their problems. About 0.1 ms a rule."""
    rules = compile_rules(policies, fact_environment())
    return _LinearEngine(rules, generation)


class _View(NamedTuple):
    """The rules that bind a tenant."""

    rules: tuple[CompiledRule, ...]


class _LinearEngine:
    """The engine that asks every rule."""

    def __init__(self, rules: tuple[CompiledRule, ...], generation: int) -> None:
        self._rules = rules
        self._generation = generation
        self._tenants = frozenset(rule.tenant for rule in rules)
        # By the paths that have rules, so there are never more than policy documents and one.
        self._views: dict[tuple[str, ...], _View] = {}

    def decide(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> Decision:
        return self._combined(self._matches(request, candidates, now_s), candidates)

    def explain(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], *, now_s: int
    ) -> tuple[Decision, tuple[RuleTrace, ...]]:
        matches = self._matches(request, candidates, now_s)
        traces = tuple(
            RuleTrace(
                hit=match.hit,
                matched=bool(match.mask),
                when=match.rule.when_text,
            )
            for match in matches
        )
        return self._combined(matches, candidates), traces

    def _matches(
        self, request: Mapping[str, FactValue], candidates: Sequence[Candidate], now_s: int
    ) -> list[Match]:
        view = self._view(str(request.get("request.tenant", "")))
        matcher = Matcher(request, candidates)
        return [matcher.match(rule) for rule in view.rules if not rule.rests(now_s)]

    def _view(self, tenant: str) -> _View:
        binding = tuple(path for path in ("", *ancestors(tenant)) if path in self._tenants)
        view = self._views.get(binding)
        if view is None:
            rules = tuple(rule for rule in self._rules if rule.tenant in binding)
            view = self._views[binding] = _View(rules)
        return view

    def _combined(self, matches: Sequence[Match], candidates: Sequence[Candidate]) -> Decision:
        names = [candidate.name for candidate in candidates]
        return combined(matches, names, generation=self._generation)
