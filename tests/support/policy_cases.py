"""Random rule sets, calls and models, and what they must decide: the table in engine.py as sentences.

Most conditions are of the kinds that an index answers, joined by AND, OR and NOT; some are any CEL.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import cel_cases
import cel_twin
from cel_cases import Condition, Env, literal

from harmost.core.policy.decision import Redaction
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, declared_facts
from harmost.core.policy.rollout import rolled_out
from harmost.core.resources.kinds import Metadata, PolicySpec, Redact, Rollout, Rule
from harmost.core.tenants import ancestors, visible

__all__ = ["Outcome", "RuleCase", "candidates", "documents", "outcome", "request", "rule_cases"]

TENANTS = ("", "acme", "acme/retail", "acme/retail/shop", "other")
TYPES = {
    scope: {f.name: f.type.value for f in declared_facts().values() if f.scope is scope}
    for scope in FactScope
}
BOTH = TYPES[FactScope.REQUEST] | TYPES[FactScope.CANDIDATE]
# What a condition gives: None where it cannot be evaluated.
Truth = bool | None


class RuleCase(NamedTuple):
    """A rule of the policy at `tenant`; None where it has no `when` or `require`."""

    tenant: str
    rule: Rule
    when: Condition | None
    require: Condition | None


class Outcome(NamedTuple):
    """What is decided: names of rules, models and classes."""

    effect: str
    hits: tuple[tuple[str, str, bool], ...]  # rule, mode, whether an error had a say
    exclusions: tuple[tuple[str, str], ...]
    candidates: tuple[str, ...]
    denied_by: str
    output_tokens_max: int
    redactions: tuple[Redaction, ...]


def request(dice: Random) -> Env:
    facts = cel_cases.fact_values(dice, TYPES[FactScope.REQUEST])
    return facts | {"request.tenant": dice.choice(TENANTS)}


def candidates(dice: Random, count: int) -> list[Candidate]:
    return [
        Candidate(f"m{at}", cel_cases.fact_values(dice, TYPES[FactScope.CANDIDATE]))  # type: ignore[arg-type]
        for at in range(count)
    ]


def condition(dice: Random, depth: int = 3) -> Condition:
    """A condition that is mostly made of what an index answers."""
    kind = dice.random()
    if depth == 0 or kind < 0.35:
        return _atom(dice)
    if kind < 0.45:
        inner = condition(dice, depth - 1)
        return Condition(f"!({inner.text})", lambda env: not inner.run(env))
    if kind < 0.5:
        return cel_cases.over_declared_facts(dice).condition(2)
    parts = [condition(dice, depth - 1) for _ in range(dice.randint(2, 3))]
    joined = dice.choice(("&&", "||"))
    text = f" {joined} ".join(f"({part.text})" for part in parts)
    return Condition(text, lambda env: _joined(parts, env, decides=joined == "||"))


def _joined(parts: Sequence[Condition], env: Env, *, decides: bool) -> bool:
    failed: cel_twin.Failed | None = None
    for part in parts:
        try:
            if part.run(env) is decides:
                return decides
        except cel_twin.Failed as error:
            failed = error
    if failed is not None:
        raise failed
    return not decides


def _facts(kind: str) -> list[str]:
    return [name for name, each in BOTH.items() if each == kind]


def _atom(dice: Random) -> Condition:
    make: Callable[[Random], Condition] = dice.choice(
        (
            _equal,
            _equal,
            _among,
            _order,
            _order,
            _has,
            _has,
            _entry,
            _entry,
            _flag,
            _starts,
            _cross,
            _any,
        )
    )
    return make(dice)


def _fact(dice: Random, kind: str) -> str:
    names = _facts(kind)
    return str(dice.choice(("request.tenant", *names) if kind == "string" else names))


def _string(dice: Random, name: str) -> str:
    return str(dice.choice(TENANTS if name == "request.tenant" else cel_cases.STRINGS))


def _equal(dice: Random) -> Condition:
    name, op = _fact(dice, "string"), dice.choice(("==", "!="))
    value = _string(dice, name)
    sides = (name, literal(value)) if dice.random() < 0.7 else (literal(value), name)
    return Condition(
        f"{sides[0]} {op} {sides[1]}", lambda env: (env[name] == value) is (op == "==")
    )


def _among(dice: Random) -> Condition:
    name = _fact(dice, dice.choice(("string", "string", "int")))
    is_int = BOTH[name] == "int"
    values = [
        dice.choice(cel_cases.INTS) if is_int else _string(dice, name)
        for _ in range(dice.randint(1, 3))
    ]
    listed = ", ".join(map(literal, values))
    return Condition(f"{name} in [{listed}]", lambda env: env[name] in values)


def _order(dice: Random) -> Condition:
    name, bound = _fact(dice, "int"), dice.choice(cel_cases.INTS)
    op = dice.choice(cel_cases.COMPARISONS)
    test: Mapping[str, Callable[[Any, Any], bool]] = {
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }
    if dice.random() < 0.3:
        return Condition(f"{literal(bound)} {op} {name}", lambda env: test[op](bound, env[name]))
    return Condition(f"{name} {op} {literal(bound)}", lambda env: test[op](env[name], bound))


def _has(dice: Random) -> Condition:
    name, value = _fact(dice, "list(string)"), dice.choice(cel_cases.STRINGS)
    return Condition(f"{literal(value)} in {name}", lambda env: value in env[name])  # type: ignore[operator]


def _any(dice: Random) -> Condition:
    name = _fact(dice, "list(string)")
    values = [dice.choice(cel_cases.STRINGS) for _ in range(dice.randint(1, 3))]
    listed = ", ".join(map(literal, values))
    if dice.random() < 0.5:
        return Condition(
            f"{name}.exists(c, c in [{listed}])",
            lambda env: any(each in values for each in env[name]),  # type: ignore[attr-defined]
        )
    return Condition(
        f"{name}.all(c, !(c in [{listed}]))",
        lambda env: all(each not in values for each in env[name]),  # type: ignore[attr-defined]
    )


def _entry(dice: Random) -> Condition:
    key, value = dice.choice(cel_cases.KEYS), dice.choice(cel_cases.STRINGS)

    def there(env: Env) -> bool:
        return key in env["labels"]  # type: ignore[operator]

    def is_value(env: Env) -> bool:
        if not there(env):
            raise cel_twin.Failed("no such key")
        return bool(env["labels"][key] == value)  # type: ignore[index]

    quoted = literal(key)
    equal = Condition(f"labels[{quoted}] == {literal(value)}", is_value)
    return dice.choice(
        (
            Condition(f"{quoted} in labels", there),
            equal,
            Condition(f"labels[{quoted}] != {literal(value)}", lambda env: not is_value(env)),
            Condition(
                f"{quoted} in labels && {equal.text}", lambda env: there(env) and is_value(env)
            ),
        )
    )


def _flag(dice: Random) -> Condition:
    name = _fact(dice, "bool")
    if dice.random() < 0.5:
        return Condition(name, lambda env: env[name])
    return Condition(f"{name} == false", lambda env: env[name] is False)


def _starts(dice: Random) -> Condition:
    name, value = _fact(dice, "string"), dice.choice(cel_cases.STRINGS)
    return Condition(
        f"{name}.startsWith({literal(value)})",
        lambda env: env[name].startswith(value),  # type: ignore[attr-defined]
    )


def _cross(dice: Random) -> Condition:
    one, other = _fact(dice, "string"), _fact(dice, "string")
    if dice.random() < 0.5:
        return Condition(f"{one} == {other}", lambda env: env[one] == env[other])
    number, bound = _fact(dice, "int"), _fact(dice, "int")
    return Condition(
        f"{number} < {bound}",
        lambda env: env[number] < env[bound],  # type: ignore[operator]
    )


def rule_cases(dice: Random, count: int) -> list[RuleCase]:
    """Rules of several tenants, with every effect, mode and rollout."""
    return [_rule_case(dice, f"r{at}") for at in range(count)]


def _rule_case(dice: Random, name: str) -> RuleCase:
    when = condition(dice) if dice.random() < 0.9 else None
    require = condition(dice, 2) if dice.random() < 0.3 else None
    effects: list[dict[str, Any]] = [
        {"deny": "no"},
        {"allow": True},
        {"redact": Redact(classes=("pan",), with_="mask_last4")},
        {"redact": Redact(classes=("email", "pan"))},
        {"cap_output_tokens": dice.randint(1, 9)},
    ]
    effect = {"require": require.text} if require is not None else dice.choice(effects)
    rule = Rule(
        name=name,
        when=when.text if when is not None else "",
        priority=dice.choice((0, 0, 0, 1, 2)),
        mode=dice.choice(("enforce", "enforce", "enforce", "warn", "shadow")),
        **effect,
    )
    if rule.mode == "enforce" and dice.random() < 0.1:
        rule = Rule(
            **{field: getattr(rule, field) for field in rule.__struct_fields__}
            | {"rollout": Rollout(percent=50)}
        )
    return RuleCase(dice.choice(TENANTS), rule, when, require)


def documents(cases: Sequence[RuleCase]) -> list[tuple[Metadata, PolicySpec]]:
    """One policy for each rule, in order."""
    return [
        (Metadata(name=case.rule.name, tenant=case.tenant), PolicySpec(rules=(case.rule,)))
        for case in cases
    ]


class _Said(NamedTuple):
    """A rule that matches somewhere."""

    case: RuleCase
    mode: str
    at: tuple[bool, ...]
    unmet: tuple[bool, ...]
    error: bool


def outcome(
    cases: Sequence[RuleCase],
    facts: Env,
    models: Sequence[Candidate],
    truth: Callable[[Condition, Env], Truth],
) -> Outcome:
    """What the rules decide, where `truth` says what each condition gives."""
    tenant = str(facts["request.tenant"])
    bound = [case for case in cases if case.tenant in ("", *ancestors(tenant))]
    ordered = sorted(bound, key=lambda case: -case.rule.priority)
    envs = [{**facts, **model.facts} for model in models]
    said = [each for case in ordered if (each := _said(case, tenant, facts, envs, truth))]
    hits = tuple(
        (each.case.rule.name, each.mode, each.error)
        for each in said
        if any(each.unmet) or each.mode == "enforce" or each.case.require is None
    )
    enforced = [each for each in said if each.mode == "enforce"]
    taken: dict[int, str] = {}
    denied_by = ""
    for each in enforced:
        for at in range(max(1, len(models))):
            if at not in taken and _takes(each, at, enforced):
                taken[at] = each.case.rule.name
                denied_by = each.case.rule.name
    left = [at for at in range(max(1, len(models))) if at not in taken]
    exclusions = tuple((models[at].name, taken[at]) for at in sorted(taken) if models)
    if not left:
        return Outcome("deny", hits, exclusions, (), denied_by, 0, ())
    counting = [each.case.rule for each in enforced if any(each.at[at] for at in left)]
    caps = [rule.cap_output_tokens for rule in counting if rule.cap_output_tokens]
    return Outcome(
        "allow",
        hits,
        exclusions,
        tuple(models[at].name for at in left if models),
        "",
        min(caps, default=0),
        _redactions(counting),
    )


def _said(
    case: RuleCase,
    tenant: str,
    facts: Env,
    envs: list[Env],
    truth: Callable[[Condition, Env], Truth],
) -> _Said | None:
    whens = _truths(case.when, facts, envs, truth)
    failed = case.rule.allow is False
    at = tuple(each is True or (each is None and failed) for each in whens)
    if not any(at):
        return None
    requires = _truths(case.require, facts, envs, truth)
    asks = case.require is not None and _asks_candidate(case.require)
    unmet = tuple(
        here and each is not True and bool(envs or not asks)
        for here, each in zip(at, requires, strict=True)
    )
    error = None in whens or any(
        each and said is None for each, said in zip(unmet, requires, strict=True)
    )
    return _Said(case, _mode(case, tenant), at, unmet, error)


def _truths(
    asked: Condition | None,
    facts: Env,
    envs: list[Env],
    truth: Callable[[Condition, Env], Truth],
) -> list[Truth]:
    if asked is None:
        return [True] * max(1, len(envs))
    if _asks_candidate(asked):
        return [truth(asked, env) for env in envs] if envs else [False]
    return [truth(asked, facts)] * max(1, len(envs))


def _asks_candidate(asked: Condition) -> bool:
    return any(name in asked.text for name in TYPES[FactScope.CANDIDATE])


def _mode(case: RuleCase, tenant: str) -> str:
    rollout = case.rule.rollout
    if rollout is None or rolled_out(case.rule.name, tenant, rollout.percent):
        return case.rule.mode
    return rollout.otherwise


def _takes(each: _Said, at: int, enforced: Sequence[_Said]) -> bool:
    if each.case.rule.deny is None:
        return each.unmet[at]
    return each.at[at] and not any(
        other.case.rule.allow
        and other.at[at]
        and other.case.rule.priority > each.case.rule.priority
        and visible(other.case.tenant, each.case.tenant)
        for other in enforced
    )


def _redactions(counting: Sequence[Rule]) -> tuple[Redaction, ...]:
    how: dict[str, set[str]] = {}
    for rule in counting:
        for name in rule.redact.classes if rule.redact else ():
            how.setdefault(name, set()).add(rule.redact.with_ if rule.redact else "")
    return tuple(
        Redaction(data_class=name, how="label" if "label" in said else "mask_last4")
        for name, said in sorted(how.items())
    )
