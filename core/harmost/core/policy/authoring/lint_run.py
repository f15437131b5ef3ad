"""One run of the linter: what its checks share, and what they find. lint.py says what that is."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from harmost.core.limits import POLICY_LINT_STEPS_MAX
from harmost.core.policy.authoring.ask import Asker
from harmost.core.policy.authoring.atoms import ERROR, TRUE, Outcomes, possible
from harmost.core.policy.authoring.domains import Situation, Subject
from harmost.core.policy.authoring.search import Answer, Goal, Search
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.ir import Const, Node
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.engine import Candidate, Engine, RuleTrace
from harmost.core.policy.facts import FactScope, FactValue, checked_facts
from harmost.core.policy.rules import CompiledRule, compile_rules
from harmost.core.resources.kinds import Metadata, PolicySpec
from harmost.core.tenants import visible

__all__ = [
    "ALWAYS",
    "SEVERITIES",
    "Finding",
    "FindingKind",
    "Lint",
    "LintReport",
    "Severity",
    "Undecided",
    "Witness",
    "lower",
    "matches",
]

FindingKind: TypeAlias = Literal[
    "never-matches",
    "always-matches",
    "never-met",
    "shadowed",
    "conflict",
    "redundant",
    "unguarded",
    "open-regions",
    "unknown-region",
    "no-owner",
    "no-citation",
    "standing-allow",
    "expired",
    "expires-soon",
]
Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: Mapping[FindingKind, Severity] = {
    "never-matches": "error",
    "always-matches": "note",
    "never-met": "error",
    "shadowed": "warning",
    "conflict": "warning",
    "redundant": "warning",
    "unguarded": "warning",
    "open-regions": "warning",
    "unknown-region": "error",
    "no-owner": "warning",
    "no-citation": "warning",
    "standing-allow": "note",
    "expired": "warning",
    "expires-soon": "note",
}
ALWAYS = Const("bool", True)


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that show a finding; what is not named has its default."""

    request: dict[str, FactValue]
    candidate: dict[str, FactValue]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something doubtful about `rule`; `path` is where in the document's spec.

    `others` are rules that have to do with it, each "policy/rule".
    """

    kind: FindingKind
    policy: str
    rule: str
    path: tuple[str | int, ...]
    message: str
    others: tuple[str, ...] = ()
    witness: Witness | None = None

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return SEVERITIES[self.kind]


class Undecided(msgspec.Struct, frozen=True, kw_only=True):
    """A question that was not answered, and why."""

    kind: FindingKind
    policy: str
    rule: str
    why: str


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, in the order of documents, and what was not decided."""

    findings: tuple[Finding, ...]
    undecided: tuple[Undecided, ...]
    rules: int


class Lint:
    """One run over `policies`, with what its checks share: rules, searches, the engine, findings."""

    def __init__(
        self,
        policies: Sequence[tuple[Metadata, PolicySpec]],
        *,
        now_s: int,
        steps_max: int = POLICY_LINT_STEPS_MAX,
    ) -> None:
        self.rules = compile_rules(policies, fact_environment())
        self.now_s = now_s
        self.findings: list[Finding] = []
        self.undecided: dict[Undecided, None] = {}  # each once, in order
        self._engine: Engine = compile_policies(policies, generation=0)
        self._asker = Asker()
        self._search = Search(self._asker.outcome)
        self._steps_left = steps_max

    def when(self, rule: CompiledRule) -> Node:
        """The condition of `rule`; ALWAYS where it has none."""
        return ALWAYS if rule.when is None else rule.when.node

    def require(self, rule: CompiledRule) -> Node:
        """What `rule` asks of a candidate; ALWAYS where it asks nothing."""
        return ALWAYS if rule.require is None else rule.require.node

    def find(
        self,
        kind: FindingKind,
        rule: CompiledRule,
        goals: Sequence[Goal],
        *,
        tenant: str | None = None,
        only: Mapping[Subject, Sequence[FactValue | None]] | None = None,
    ) -> Answer:
        """Facts that meet `goals`; a question that is not answered is noted for `rule`."""
        if self._steps_left <= 0:
            answer = Answer("undecided", why="the linter's steps are used up", steps=0)
        else:
            where = rule.tenant if tenant is None else tenant
            answer = self._search.find(goals, tenant=where, only=only)
            self._steps_left -= answer.steps
        if answer.kind == "undecided":
            self.leave_open(kind, rule, answer.why)
        return answer

    def leave_open(self, kind: FindingKind, rule: CompiledRule, why: str) -> None:
        """Note that a question about `rule` is not answered."""
        note = Undecided(kind=kind, policy=rule.hit.policy, rule=rule.hit.rule, why=why)
        self.undecided[note] = None

    def add(
        self,
        kind: FindingKind,
        rule: CompiledRule,
        message: str,
        *,
        field: str = "name",
        others: Sequence[CompiledRule] = (),
        witness: Witness | None = None,
    ) -> None:
        """Note a finding about `rule`."""
        self.findings.append(
            Finding(
                kind=kind,
                policy=rule.hit.policy,
                rule=rule.hit.rule,
                path=(*rule.path, field),
                message=message,
                others=tuple(f"{each.hit.policy}/{each.hit.rule}" for each in others),
                witness=witness,
            )
        )

    def shown(
        self, facts: Situation | None, tenant: str, rules: Sequence[CompiledRule]
    ) -> Witness | None:
        """`facts` as a witness, if the engine says that all of `rules` match on them."""
        if facts is None:
            return None
        witness, traces = self.traced(facts, tenant)
        matched = all(traces[rule.hit.policy, rule.hit.rule].matched for rule in rules)
        return witness if matched else None

    def traced(
        self, facts: Situation, tenant: str
    ) -> tuple[Witness, Mapping[tuple[str, str], RuleTrace]]:
        """`facts` made whole, and what the engine says of each rule on them."""
        call = _of_tenant(facts, tenant)
        _, traces = self._engine.explain(*_asked(call), now_s=self.now_s)
        by_rule = {(trace.hit.policy, trace.hit.rule): trace for trace in traces}
        return Witness(request=call.request, candidate=call.candidate), by_rule

    def matching(self, facts: Situation, tenant: str) -> list[tuple[str, str]]:
        """Policy and rule of all that match on `facts`, as the engine decides. Microseconds."""
        hits = self._engine.decide(*_asked(_of_tenant(facts, tenant)), now_s=self.now_s).hits
        return [(hit.policy, hit.rule) for hit in hits]

    def gives(self, node: Node, facts: Situation, tenant: str) -> Outcomes:
        """What the condition `node` gives on `facts`."""
        call = _of_tenant(facts, tenant)
        return possible(node, lambda atom: self._asker.outcome(atom, call))

    def enforced(self, rule: CompiledRule) -> bool:
        """Whether `rule` is enforced for every tenant now."""
        everywhere = rule.hit_elsewhere is None
        return rule.hit.mode == "enforce" and everywhere and not rule.rests(self.now_s)


def _of_tenant(facts: Situation, tenant: str) -> Situation:
    """`facts` of a call charged to `tenant`, where they do not say to whom."""
    request: dict[str, FactValue] = {"request.tenant": tenant} if tenant else {}
    return Situation({**request, **facts.request}, dict(facts.candidate))


def _asked(call: Situation) -> tuple[dict[str, FactValue], list[Candidate]]:
    """What the engine is asked about `call`."""
    name = str(call.candidate.get("model.name", "model"))
    candidate = Candidate(name, {"model.name": name, **call.candidate})
    return checked_facts(call.request, scope=FactScope.REQUEST), [candidate]


def matches(rule: CompiledRule) -> Outcomes:
    """What the condition of `rule` gives where the rule matches: errors restrict, and never grant."""
    return TRUE if rule.hit.effect == "allow" else TRUE | ERROR


def lower(one: str, other: str) -> str | None:
    """The lower of two tenants of one line, else None: no call is bound by rules of both."""
    if visible(one, other):
        return other
    return one if visible(other, one) else None
