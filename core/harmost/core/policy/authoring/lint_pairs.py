"""What the linter asks about rules together: which one changes nothing, which two undo each other."""

from collections.abc import Iterator, Sequence

from harmost.core.limits import POLICY_LINT_PAIRS_MAX
from harmost.core.policy.authoring.atoms import ANY, TRUE
from harmost.core.policy.authoring.domains import Situation
from harmost.core.policy.authoring.lint_run import ALWAYS, Lint, lower, matches
from harmost.core.policy.authoring.search import Goal
from harmost.core.policy.cel.ir import Node, Not, Or
from harmost.core.policy.decision import Redaction
from harmost.core.policy.rules import CompiledRule
from harmost.core.tenants import visible

__all__ = ["check_pairs"]

COVERING_MAX = 20  # rules that together do what one does; more are not looked for


def check_pairs(run: Lint) -> None:
    """Find rules that change nothing beside the others, and rules that contradict each other."""
    pairs = _Pairs(run)
    pairs.check_shadowed()
    pairs.check_allows()
    pairs.check_requires()


class _Pairs:
    """The rules that count now, and how many pairs of them were looked at."""

    def __init__(self, run: Lint) -> None:
        self._run = run
        dead = {(f.policy, f.rule) for f in run.findings if f.kind == "never-matches"}
        self._live = [
            rule
            for rule in run.rules
            if run.enforced(rule) and (rule.hit.policy, rule.hit.rule) not in dead
        ]
        self._by_name = {(rule.hit.policy, rule.hit.rule): rule for rule in self._live}
        self._allows = [rule for rule in run.rules if rule.hit.effect == "allow"]
        self._denies = [
            rule for rule in run.rules if rule.hit.effect == "deny" and rule.hit.mode == "enforce"
        ]
        self._shadowed: set[int] = set()
        self._pairs = 0

    def check_shadowed(self) -> None:
        """Rules that take away what others take anyway; of two alike the later one is told."""
        for rule in reversed(self._live):
            if rule.hit.effect == "allow":
                continue
            parts = [self._covering(rule, redaction) for redaction in rule.redactions or (None,)]
            if all(parts):
                others = list({id(each): each for part in parts if part for each in part}.values())
                self._shadowed.add(id(rule))
                names = " and ".join(f"`{o.hit.policy}/{o.hit.rule}`" for o in others[:3])
                more = f" and {len(others) - 3} more" if len(others) > 3 else ""
                self._run.add(
                    "shadowed",
                    rule,
                    f"it changes no decision beside {names}{more}: remove it",
                    others=others,
                )

    def check_allows(self) -> None:
        """Allows that lift nothing, and denies that win against an allow."""
        for allow in filter(self._run.enforced, self._allows):
            lifts = False
            for deny in self._denies:
                tenant = lower(allow.tenant, deny.tenant)
                if tenant is None:
                    continue
                if not self._counted("conflict", allow):
                    return
                goals = [self._matching(allow), self._matching(deny)]
                answer = self._run.find("conflict", allow, goals, tenant=tenant)
                above = visible(allow.tenant, deny.tenant)
                if answer.kind == "undecided" or (
                    answer.kind == "found" and above and allow.priority > deny.priority
                ):
                    lifts = True
                elif answer.kind == "found":
                    reason = (
                        f"its priority {deny.priority} is not below {allow.priority}"
                        if above
                        else f"it is of tenant `{deny.tenant}`, above `{allow.tenant}`"
                    )
                    witness = self._run.shown(answer.facts, tenant, [allow, deny])
                    if witness is not None:
                        self._run.add(
                            "conflict",
                            allow,
                            f"where deny `{deny.hit.policy}/{deny.hit.rule}` matches too, "
                            f"the deny wins: {reason}",
                            others=[deny],
                            witness=witness,
                        )
            if not lifts:
                self._run.add("shadowed", allow, "there is no deny that it lifts: remove it")

    def check_requires(self) -> None:
        """Two requires that no model meets together, and two ways to redact one class."""
        requires = [rule for rule in self._live if rule.require_text]
        redacts = [rule for rule in self._live if rule.redactions]
        for one, other in _two_of(requires):
            if not self._counted("conflict", one):
                return
            self._check_contradiction(one, other)
        for one, other in _two_of(redacts):
            hows = {each.data_class: each.how for each in one.redactions}
            differ = [
                r.data_class for r in other.redactions if hows.get(r.data_class, r.how) != r.how
            ]
            if differ and not self._counted("conflict", one):
                return
            if differ:
                self._check_both(
                    one, other, f"`{differ[0]}` is replaced in two ways, and `label` wins"
                )

    def _check_contradiction(self, one: CompiledRule, other: CompiledRule) -> None:
        tenant = lower(one.tenant, other.tenant)
        if tenant is None:
            return
        both = [self._matching(one), self._matching(other)]
        met = [Goal(self._run.require(rule), TRUE) for rule in (one, other)]
        if self._run.find("conflict", one, [*both, *met], tenant=tenant).kind == "never":
            each = [
                self._run.find("never-met", rule, [Goal(self._run.require(rule), TRUE)]).kind
                for rule in (one, other)
            ]
            if "never" not in each:
                message = "no model meets what both require: such calls are denied"
                self._check_both(one, other, message)

    def _check_both(self, one: CompiledRule, other: CompiledRule, message: str) -> None:
        """Tell `message` of two rules if both can match at once."""
        tenant = lower(one.tenant, other.tenant)
        if tenant is None:
            return
        goals = [self._matching(one), self._matching(other)]
        answer = self._run.find("conflict", one, goals, tenant=tenant)
        witness = self._run.shown(answer.facts, tenant, [one, other])
        if witness is not None:
            name = f"`{other.hit.policy}/{other.hit.rule}`"
            self._run.add(
                "conflict", one, f"with {name}: {message}", others=[other], witness=witness
            )

    def _covering(
        self, rule: CompiledRule, redaction: Redaction | None
    ) -> list[CompiledRule] | None:
        """Rules that do what `rule` does wherever it matches; None if there are none.

        Each time there are facts on which none of them does it, those that do it there are added,
        until there are no such facts, or on some nobody else does it.
        """
        run = self._run
        takes = Goal(self._kept(rule), ANY & ~TRUE)
        others: list[CompiledRule] = []
        while True:
            spared = [Goal(self._kept(other), TRUE) for other in others]
            answer = run.find("shadowed", rule, [takes, *spared])
            if answer.kind == "never":
                return self._fewest(takes, rule, others) if others else None
            if answer.facts is None:
                return None
            more = self._doing(rule, redaction, answer.facts)
            if not more:
                return None
            others += more
            if len(others) > COVERING_MAX:
                run.leave_open("shadowed", rule, f"more than {COVERING_MAX} rules do the same")
                return None

    def _doing(
        self, rule: CompiledRule, redaction: Redaction | None, facts: Situation
    ) -> list[CompiledRule]:
        """The other rules that do on `facts` what `rule` does."""
        run = self._run
        return [
            other
            for name in run.matching(facts, rule.tenant)
            if (other := self._by_name.get(name)) is not None
            and other is not rule
            and id(other) not in self._shadowed
            and visible(other.tenant, rule.tenant)
            and self._as_strong(other, rule, redaction)
            and run.gives(self._kept(other), facts, rule.tenant) != TRUE
        ]

    def _fewest(
        self, takes: Goal, rule: CompiledRule, others: list[CompiledRule]
    ) -> list[CompiledRule]:
        """One of `others` that does it alone, which says it best, else all."""
        for other in others if len(others) > 1 else ():
            goals = [takes, Goal(self._kept(other), TRUE)]
            if self._run.find("shadowed", rule, goals).kind == "never":
                return [other]
        return others

    def _as_strong(
        self, other: CompiledRule, rule: CompiledRule, redaction: Redaction | None
    ) -> bool:
        """Whether `other` does at least what `rule` does where it matches."""
        match rule.hit.effect:
            case "redact":
                return redaction is not None and any(
                    each.data_class == redaction.data_class and each.how in ("label", redaction.how)
                    for each in other.redactions
                )
            case "cap_tokens":
                return 0 < other.output_tokens_max <= rule.output_tokens_max
            case "cap_price":
                cap = other.usd_nanos_per_1k_tokens_max
                return 0 < cap <= rule.usd_nanos_per_1k_tokens_max
            case "deny":
                if other.hit.effect == "require":
                    return True
                return other.hit.effect == "deny" and (
                    other.priority >= rule.priority or not self._liftable(other)
                )
            case _:
                if other.hit.effect == "require":
                    return True
                return other.hit.effect == "deny" and not self._liftable(other)

    def _liftable(self, deny: CompiledRule) -> bool:
        """Whether some allow, now or later, could lift `deny`."""
        return any(
            allow.priority > deny.priority and visible(allow.tenant, deny.tenant)
            for allow in self._allows
        )

    def _kept(self, rule: CompiledRule) -> Node:
        """True exactly where `rule` leaves things as they are; an error in it restricts."""
        when = self._run.when(rule)
        if rule.hit.effect == "require":
            require = self._run.require(rule)
            return require if when == ALWAYS else Or((Not(when), require))
        return Not(when)

    def _matching(self, rule: CompiledRule) -> Goal:
        return Goal(self._run.when(rule), matches(rule))

    def _counted(self, kind: str, rule: CompiledRule) -> bool:
        """Count a pair; False, and noted once, where there have been too many."""
        self._pairs += 1
        if self._pairs > POLICY_LINT_PAIRS_MAX:
            why = f"more than {POLICY_LINT_PAIRS_MAX} pairs of rules"
            self._run.leave_open(kind, rule, why)  # type: ignore[arg-type]
            return False
        return True


def _two_of(rules: Sequence[CompiledRule]) -> Iterator[tuple[CompiledRule, CompiledRule]]:
    for index, one in enumerate(rules):
        for other in rules[index + 1 :]:
            yield one, other
