"""Policy documents as compiled rules, in the order of evaluation, or every problem that they have.

An exception is a rule with the effect allow. What a rule may say apart from CEL is rule_checks.py's.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from harmost.core.budget.price import usd_nanos
from harmost.core.errors import InvalidDocuments, Violation
from harmost.core.limits import RULES_MAX
from harmost.core.policy.cel.expression import CelProblem, Compiler, Expression, ExpressionRefused
from harmost.core.policy.decision import Redaction, RuleHit
from harmost.core.policy.expiry import rfc3339_s
from harmost.core.policy.rollout import PERCENT_MAX, rolled_out
from harmost.core.policy.rule_checks import effects_of, exception_problems, found_classes
from harmost.core.policy.rule_checks import rule_problems as problems_of
from harmost.core.policy.variables import Variables
from harmost.core.resources.kinds import Metadata, PolicyException, PolicySpec, Rule

__all__ = ["CompiledRule", "PoliciesRefused", "RuleCompiler", "RuleError", "compile_rules"]

# Conditions that are remembered: those of a set and of the one before.
_EXPRESSIONS_MAX = 2 * RULES_MAX

Path: TypeAlias = tuple[str | int, ...]


class RuleError(NamedTuple):
    """One problem of one rule, exception or variable, called `rule`.

    `path` is where in the document's spec, such as ("rules", 1, "when"), places counted from 0.
    `line` and `column` count from 1 inside the CEL at `path`; 0 where the problem is not in CEL.
    """

    policy: str
    rule: str
    path: Path
    line: int
    column: int
    message: str

    @property
    def field(self) -> str:
        """The last name in the path."""
        return str(self.path[-1])

    @property
    def noun(self) -> str:
        """What the thing at the path is."""
        return {"exceptions": "exception", "variables": "variable"}.get(str(self.path[0]), "rule")


class PoliciesRefused(InvalidDocuments):
    """Policies that cannot be used; `errors` are all their problems, `violations` the same."""

    def __init__(self, errors: Sequence[RuleError]) -> None:
        self.errors = tuple(errors)
        super().__init__(
            f"policies have {len(errors)} problems: correct each and apply again",
            violations=[
                Violation(
                    _dotted((error.policy, *error.path))
                    + (f":{error.line}:{error.column}" if error.line else ""),
                    f"{error.noun} `{error.rule}` of policy `{error.policy}`: {error.message}",
                )
                for error in errors
            ],
        )


class CompiledRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is known to work. `when` is None where it always holds.

    `hit` is what a decision names when it matches; `hit_elsewhere` for tenants outside the
    `rollout_percent` (None: it is the same for all). `require` is also what a price cap asks of a
    candidate. From `expires_s` (Unix seconds; 0: never) on the rule rests. `when_text` is as written,
    `path` where in the document's spec.
    """

    hit: RuleHit
    tenant: str
    priority: int
    when: Expression | None
    require: Expression | None = None
    redactions: tuple[Redaction, ...] = ()
    output_tokens_max: int = 0
    usd_nanos_per_1k_tokens_max: int = 0
    rollout_percent: int = PERCENT_MAX
    hit_elsewhere: RuleHit | None = None
    expires_s: int = 0
    owner: str = ""
    when_text: str = ""
    require_text: str = ""
    path: Path = ()

    def hit_of(self, tenant: str) -> RuleHit:
        """What a decision about a call charged to `tenant` names."""
        if self.hit_elsewhere is None or rolled_out(self.hit.policy, tenant, self.rollout_percent):
            return self.hit
        return self.hit_elsewhere

    def rests(self, now_s: int) -> bool:
        """Whether it has expired."""
        return 0 < self.expires_s <= now_s


def compile_rules(
    policies: Sequence[tuple[Metadata, PolicySpec]], environment: Compiler
) -> tuple[CompiledRule, ...]:
    """What RuleCompiler gives, for policies that are compiled only once."""
    return RuleCompiler(environment).compile(policies)


class RuleCompiler:
    """Compiles policies again and again, each time only the documents and conditions that are new."""

    def __init__(self, environment: Compiler) -> None:
        self._environment = environment
        self._documents: dict[str, _Document] = {}
        self._expressions: dict[str, Expression | ExpressionRefused] = {}

    def compile(self, policies: Sequence[tuple[Metadata, PolicySpec]]) -> tuple[CompiledRule, ...]:
        """The rules by priority, highest first, then as written; raises PoliciesRefused.

        Exceptions follow the rules of their document. About 0.2 ms a rule; an expression that several
        rules share is compiled once.
        """
        count = sum(len(policy.rules) + len(policy.exceptions) for _, policy in policies)
        if count > RULES_MAX:
            message = f"there are {count} rules, more than {RULES_MAX}: remove some"
            path: Path = ("rules", 0, "name")
            raise PoliciesRefused([RuleError(policies[-1][0].name, "", path, 0, 0, message)])
        if len(self._expressions) > _EXPRESSIONS_MAX:
            self._expressions.clear()
        compiled = [self._document(metadata, policy) for metadata, policy in policies]
        errors = [error for document in compiled for error in document.errors]
        if errors:
            raise PoliciesRefused(errors)
        self._documents = {document.metadata.name: document for document in compiled}
        rules = [rule for document in compiled for rule in document.rules]
        return tuple(sorted(rules, key=lambda rule: -rule.priority))  # sorted is stable

    def _document(self, metadata: Metadata, policy: PolicySpec) -> "_Document":
        known = self._documents.get(metadata.name)
        if known is not None and known.metadata == metadata and known.policy == policy:
            return known
        compiler = _Compiler(self._environment, self._expressions)
        compiler.add(metadata, policy)
        return _Document(metadata, policy, compiler.rules, compiler.errors)


class _Document(NamedTuple):
    """A policy, and what became of it."""

    metadata: Metadata
    policy: PolicySpec
    rules: list[CompiledRule]
    errors: list[RuleError]


class _Compiler:
    """Collects rules and problems of one document."""

    def __init__(
        self, environment: Compiler, expressions: dict[str, Expression | ExpressionRefused]
    ) -> None:
        self.rules: list[CompiledRule] = []
        self.errors: list[RuleError] = []
        self._environment = environment
        self._expressions = expressions

    def add(self, metadata: Metadata, policy: PolicySpec) -> None:
        variables = Variables(policy.variables, self._environment)
        for name, problem in variables.problems:
            self.errors.append(RuleError(metadata.name, name, ("variables", name), *problem))
        names: set[str] = set()
        for index, rule in enumerate(policy.rules):
            scope = _Scope(metadata, rule.name, ("rules", index), variables)
            self._add_rule(scope, rule, policy.owner, names)
        for index, exception in enumerate(policy.exceptions):
            scope = _Scope(metadata, exception.name, ("exceptions", index), variables)
            self._add_exception(scope, exception, names)

    def _add_rule(self, scope: "_Scope", rule: Rule, owner: str, names: set[str]) -> None:
        errors_before = len(self.errors)
        self._note(scope, names, problems_of(rule))
        when = self._expression(scope, "when", rule.when)
        cap = rule.cap_usd_per_1k_tokens
        require = self._expression(scope, "require", rule.require)
        if len(self.errors) > errors_before:
            return
        cap_usd_nanos = usd_nanos(cap) if cap else 0
        hit = _rule_hit(scope.metadata, rule)
        self.rules.append(
            CompiledRule(
                hit=hit,
                tenant=scope.metadata.tenant,
                priority=rule.priority,
                when=when,
                require=self._price_cap(cap_usd_nanos) if cap else require,
                redactions=_redactions(rule),
                output_tokens_max=rule.cap_output_tokens,
                usd_nanos_per_1k_tokens_max=cap_usd_nanos,
                rollout_percent=rule.rollout.percent if rule.rollout else PERCENT_MAX,
                hit_elsewhere=(
                    msgspec.structs.replace(hit, mode=rule.rollout.otherwise)
                    if rule.rollout
                    else None
                ),
                owner=rule.owner or owner,
                when_text=rule.when,
                require_text=rule.require,
                path=scope.path,
            )
        )

    def _add_exception(self, scope: "_Scope", exception: PolicyException, names: set[str]) -> None:
        errors_before = len(self.errors)
        self._note(scope, names, exception_problems(exception))
        when = self._expression(scope, "when", exception.when)
        if len(self.errors) > errors_before:
            return
        expires_s = rfc3339_s(exception.expires)
        self.rules.append(
            CompiledRule(
                hit=RuleHit(
                    policy=scope.metadata.name,
                    rule=exception.name,
                    effect="allow",
                    message=exception.reason,
                    citations=exception.cites,
                    approver=exception.approver,
                    expires_s=expires_s,
                ),
                tenant=scope.metadata.tenant,
                priority=exception.priority,
                when=when,
                expires_s=expires_s,
                owner=exception.owner,
                when_text=exception.when,
                path=scope.path,
            )
        )

    def _note(self, scope: "_Scope", names: set[str], problems: Sequence[tuple[str, str]]) -> None:
        for field, message in problems:
            self.errors.append(scope.error(field, CelProblem(0, 0, message)))
        if scope.name in names:
            message = "another rule or exception of the policy has this name: rename one"
            self.errors.append(scope.error("name", CelProblem(0, 0, message)))
        names.add(scope.name)

    def _expression(self, scope: "_Scope", field: str, source: str) -> Expression | None:
        if not source:
            return None
        expanded = scope.variables.expanded(source)
        problems = expanded.problems
        if expanded.text:
            try:
                return self._compiled(expanded.text)
            except ExpressionRefused as refused:
                problems = tuple(expanded.placed(problem) for problem in refused.problems)
        self.errors += [scope.error(field, problem) for problem in problems]
        return None

    def _compiled(self, source: str) -> Expression:
        if source not in self._expressions:
            try:
                self._expressions[source] = self._environment.compile(source)
            except ExpressionRefused as refused:
                self._expressions[source] = refused
        compiled = self._expressions[source]
        if isinstance(compiled, Expression):
            return compiled
        raise compiled

    def _price_cap(self, usd_nanos_per_1k_tokens: int) -> Expression:
        """What a candidate must meet; the same number is picodollars for one token.

        A price that is not known meets no cap, nor does one so high that the sum overflows.
        """
        return self._compiled(
            "model.price_known && model.input_usd_picos_per_token * input.tokens"
            " + model.output_usd_picos_per_token * output.tokens_max"
            f" <= {usd_nanos_per_1k_tokens} * (input.tokens + output.tokens_max)"
        )


class _Scope(NamedTuple):
    """A rule or exception under compilation."""

    metadata: Metadata
    name: str
    path: Path
    variables: Variables

    def error(self, field: str, problem: CelProblem) -> RuleError:
        return RuleError(self.metadata.name, self.name, (*self.path, field), *problem)


def _redactions(rule: Rule) -> tuple[Redaction, ...]:
    if rule.redact is None:
        return ()
    classes = sorted({found for name in rule.redact.classes for found in found_classes(name)})
    return tuple(Redaction(data_class=name, how=rule.redact.with_) for name in classes)


def _rule_hit(metadata: Metadata, rule: Rule) -> RuleHit:
    return RuleHit(
        policy=metadata.name,
        rule=rule.name,
        effect=effects_of(rule)[0],
        mode=rule.mode,
        message=rule.deny or rule.message,
        citations=rule.cites,
    )


def _dotted(path: Path) -> str:
    """("p", "rules", 1, "when") as "p.rules[1].when"."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[1:])
    return str(path[0]) + "".join(parts)
