"""Policy documents as compiled rules, in the order of evaluation, or every problem that they have."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from harmost.core.errors import InvalidDocuments, Violation
from harmost.core.limits import (
    RULE_CITATIONS_MAX,
    RULE_MESSAGE_CHARS_MAX,
    RULE_NAME_CHARS_MAX,
    RULES_MAX,
)
from harmost.core.policy.decision import Effect, Redaction, RuleHit
from harmost.core.policy.expression import Compiler, Expression, ExpressionRefused
from harmost.core.privacy.classes import FOUND_CLASSES, IMPLIED_CLASSES
from harmost.core.resources.kinds import Metadata, PolicySpec, Rule

__all__ = ["CompiledRule", "PoliciesRefused", "RuleError", "compile_rules"]

_EFFECTS = "`deny`, `allow`, `require`, `redact`, `cap_output_tokens`"


class RuleError(NamedTuple):
    """One problem of one rule. `rule_index` is its place in the document, from 0.

    `line` and `column` count from 1 inside the CEL of `field`; 0 where the problem is not in CEL.
    """

    policy: str
    rule: str
    rule_index: int
    field: str
    line: int
    column: int
    message: str


class PoliciesRefused(InvalidDocuments):
    """Policies that cannot be used; `errors` are all their problems, `violations` the same."""

    def __init__(self, errors: Sequence[RuleError]) -> None:
        self.errors = tuple(errors)
        super().__init__(
            f"policies have {len(errors)} problems: correct each and apply again",
            violations=[
                Violation(
                    f"{error.policy}.rules[{error.rule_index}].{error.field}"
                    + (f":{error.line}:{error.column}" if error.line else ""),
                    f"rule `{error.rule}` of policy `{error.policy}`: {error.message}",
                )
                for error in errors
            ],
        )


class CompiledRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is known to work. `when` is None where it always holds.

    `hit` is what a decision names when it matches.
    """

    hit: RuleHit
    tenant: str
    priority: int
    when: Expression | None
    require: Expression | None = None
    redactions: tuple[Redaction, ...] = ()
    output_tokens_max: int = 0


def compile_rules(
    policies: Sequence[tuple[Metadata, PolicySpec]], environment: Compiler
) -> tuple[CompiledRule, ...]:
    """The rules by priority, highest first, then as written; raises PoliciesRefused.

    About 0.1 ms a rule; an expression that several rules share is compiled once.
    """
    count = sum(len(policy.rules) for _, policy in policies)
    if count > RULES_MAX:
        message = f"there are {count} rules, more than {RULES_MAX}: remove some"
        raise PoliciesRefused([RuleError(policies[-1][0].name, "", 0, "name", 0, 0, message)])
    compiler = _Compiler(environment)
    for metadata, policy in policies:
        compiler.add(metadata, policy)
    if compiler.errors:
        raise PoliciesRefused(compiler.errors)
    return tuple(sorted(compiler.rules, key=lambda rule: -rule.priority))  # sorted is stable


class _Compiler:
    """Collects rules and problems."""

    def __init__(self, environment: Compiler) -> None:
        self.rules: list[CompiledRule] = []
        self.errors: list[RuleError] = []
        self._environment = environment
        self._expressions: dict[str, Expression | ExpressionRefused] = {}

    def add(self, metadata: Metadata, policy: PolicySpec) -> None:
        names: set[str] = set()
        for index, rule in enumerate(policy.rules):
            errors_before = len(self.errors)
            compiled = self._compiled(metadata, rule, index)
            if rule.name in names:
                message = "another rule of the policy has this name: rename one"
                self.errors.append(_error(metadata, rule, index, "name", message))
            names.add(rule.name)
            if len(self.errors) == errors_before:
                self.rules.append(compiled)

    def _compiled(self, metadata: Metadata, rule: Rule, index: int) -> CompiledRule:
        for field, message in _shape_problems(rule):
            self.errors.append(_error(metadata, rule, index, field, message))
        return CompiledRule(
            hit=_hit(metadata, rule),
            tenant=metadata.tenant,
            priority=rule.priority,
            when=self._expression(metadata, rule, index, "when"),
            require=self._expression(metadata, rule, index, "require"),
            redactions=_redactions(rule),
            output_tokens_max=rule.cap_output_tokens,
        )

    def _expression(
        self, metadata: Metadata, rule: Rule, index: int, field: str
    ) -> Expression | None:
        source: str = getattr(rule, field)
        if not source:
            return None
        if source not in self._expressions:
            try:
                self._expressions[source] = self._environment.compile(source)
            except ExpressionRefused as refused:
                self._expressions[source] = refused
        compiled = self._expressions[source]
        if isinstance(compiled, Expression):
            return compiled
        self.errors += [
            RuleError(metadata.name, rule.name, index, field, *problem)
            for problem in compiled.problems
        ]
        return None


def _shape_problems(rule: Rule) -> list[tuple[str, str]]:
    """Field and message of what is wrong apart from CEL."""
    effects = _effects(rule)
    problems: list[tuple[str, str]] = []
    if not rule.name:
        problems.append(("name", "rule has no name: give it one"))
    if not effects:
        problems.append(("name", f"rule has no effect: give it one of {_EFFECTS}"))
    if len(effects) > 1:
        both = " and ".join(f"`{effect}`" for effect in effects)
        problems.append(("name", f"rule has the effects {both}: part it into one rule for each"))
    if rule.cap_output_tokens < 0:
        problems.append(("cap_output_tokens", f"`{rule.cap_output_tokens}` is not above 0"))
    problems += _long_texts(rule)
    if rule.redact is not None:
        problems += [("redact", message) for message in _redact_problems(rule.redact.classes)]
    return problems


def _long_texts(rule: Rule) -> list[tuple[str, str]]:
    texts = [("deny", rule.deny or "", RULE_MESSAGE_CHARS_MAX)]
    texts += [("name", rule.name, RULE_NAME_CHARS_MAX)]
    texts += [("cites", source, RULE_NAME_CHARS_MAX) for source in rule.cites]
    problems = [
        (field, f"`{text[:60]}…` is longer than {chars_max} characters: shorten it")
        for field, text, chars_max in texts
        if len(text) > chars_max
    ]
    if len(rule.cites) > RULE_CITATIONS_MAX:
        message = (
            f"rule cites {len(rule.cites)} sources, more than {RULE_CITATIONS_MAX}: name fewer"
        )
        problems.append(("cites", message))
    return problems


def _redact_problems(classes: Sequence[str]) -> list[str]:
    if not classes:
        return ["no class is named: name some of " + ", ".join(f"`{c}`" for c in FOUND_CLASSES)]
    found = ", ".join(f"`{name}`" for name in FOUND_CLASSES)
    return [
        f"`{name}` cannot be redacted: the scanner finds {found}"
        for name in classes
        if not _found_classes(name)
    ]


def _found_classes(name: str) -> list[str]:
    """What the scanner finds of the class `name`: itself, or the classes that imply it."""
    return [found for found in FOUND_CLASSES if found == name or name in IMPLIED_CLASSES[found]]


def _redactions(rule: Rule) -> tuple[Redaction, ...]:
    if rule.redact is None:
        return ()
    classes = sorted({found for name in rule.redact.classes for found in _found_classes(name)})
    return tuple(Redaction(data_class=name, how=rule.redact.with_) for name in classes)


def _effects(rule: Rule) -> list[Effect]:
    stated: Mapping[Effect, bool] = {
        "deny": rule.deny is not None,
        "allow": rule.allow,
        "require": bool(rule.require),
        "redact": rule.redact is not None,
        "cap_tokens": rule.cap_output_tokens != 0,
    }
    return [effect for effect, said in stated.items() if said]


def _hit(metadata: Metadata, rule: Rule) -> RuleHit:
    effects = _effects(rule)
    return RuleHit(
        policy=metadata.name,
        rule=rule.name,
        effect=effects[0] if effects else "deny",
        mode=rule.mode,
        message=rule.deny or "",
        citations=rule.cites,
    )


def _error(metadata: Metadata, rule: Rule, index: int, field: str, message: str) -> RuleError:
    return RuleError(metadata.name, rule.name, index, field, 0, 0, message)
