"""Seeded rules, requests and models for bench_policy.py, each rule in the language of each engine.

A rule is a conjunction of atoms. `few`: nine of ten rules name one tenant out of a number that grows with
the rules, so a call matches about as many however many there are. `many`: eight of ten name one of 500
tenants, the rest a tier, a team or nothing; at 10,000 rules a call matches about 250.
"""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from harmost.core.policy.engine import Candidate
from harmost.core.resources.kinds import Metadata, PolicySpec, Redact, Rule

__all__ = [
    "Condition",
    "as_cedar",
    "as_cel",
    "as_rego",
    "candidates",
    "conditions",
    "holds",
    "policies",
    "requests",
]

CLASSES = [
    "pan",
    "ssn",
    "email",
    "phone",
    "iban",
    "phi",
    "secret",
    "name",
    "address",
    "dob",
    "passport",
    "ip",
    "mrn",
    "salary",
    "biometric",
    "health",
]
REGIONS = ["EEA", "UK", "CH", "US", "US-CA", "CA", "AU", "JP"]
MODELS = [
    f"{family}-{size}"
    for family in ("gpt", "claude", "llama", "mistral", "gemini")
    for size in "sl"
]
ENVIRONMENTS = ["prod", "staging", "dev", "test"]
TIERS = ["free", "pro", "enterprise", "gov"]
TEAMS = [f"team{number:03d}" for number in range(100)]
CANDIDATES = 10


class Atom(NamedTuple):
    """`op` of `fact` and `value`: eq, label, has, not_in, in, above, below, prefix, any."""

    op: str
    fact: str
    value: Any


class Condition(NamedTuple):
    """All of `atoms`, and which effect the rule has."""

    atoms: tuple[Atom, ...]
    effect: str


def _tenants(count: int, shape: str) -> int:
    return max(1, count // 20) if shape == "few" else 500


def conditions(count: int, shape: str) -> list[Condition]:
    """`count` rules of a shape, the same for the same arguments."""
    dice = random.Random(f"rules {count} {shape}")
    tenants = _tenants(count, shape)
    return [
        Condition(
            (*_scope(dice, tenants, shape), *(_atom(dice) for _ in range(dice.randint(1, 3)))),
            dice.choices(
                ("deny", "allow", "require", "redact", "cap", "shadow"), (10, 10, 20, 30, 15, 15)
            )[0],
        )
        for _ in range(count)
    ]


def _scope(dice: random.Random, tenants: int, shape: str) -> tuple[Atom, ...]:
    kinds = {"few": (90, 0, 10, 0), "many": (80, 7, 7, 6)}[shape]
    kind = dice.choices(("tenant", "tier", "team", "all"), kinds)[0]
    if kind == "tenant":
        return (Atom("eq", "request.tenant", f"tenant{dice.randrange(tenants):04d}"),)
    if kind == "tier":
        return (Atom("label", "tier", dice.choice(TIERS)),)
    return (Atom("label", "team", dice.choice(TEAMS)),) if kind == "team" else ()


def _atom(dice: random.Random) -> Atom:
    kind = dice.random()
    if kind < 0.28:
        return Atom("has", "data.classes", dice.choice(CLASSES))
    if kind < 0.45:
        return Atom("not_in", "model.region", sorted(dice.sample(REGIONS, dice.randint(1, 3))))
    if kind < 0.58:
        return Atom("in", "model.name", sorted(dice.sample(MODELS, dice.randint(1, 3))))
    if kind < 0.70:
        return Atom("above", "input.tokens", dice.choice([1000, 2000, 4000, 8000, 16000, 32000]))
    if kind < 0.80:
        return Atom("below", "input.bytes", dice.choice([500, 1000, 5000, 10_000, 50_000]))
    if kind < 0.88:
        return Atom("above", "output.tokens_max", dice.choice([200, 500, 800, 1200, 2000]))
    if kind < 0.94:
        return Atom("label", "env", dice.choice(ENVIRONMENTS))
    if kind < 0.97:
        return Atom("prefix", "request.profile", dice.choice(["chat", "batch", "code"]))
    return Atom("any", "data.classes", sorted(dice.sample(CLASSES, 3)))


def policies(rules: list[Condition]) -> list[tuple[Metadata, PolicySpec]]:
    """The rules as documents of 100 each."""
    made = [_rule(number, rule) for number, rule in enumerate(rules)]
    return [
        (Metadata(name=f"policy{at // 100:03d}"), PolicySpec(rules=tuple(made[at : at + 100])))
        for at in range(0, len(made), 100)
    ]


def _rule(number: int, rule: Condition) -> Rule:
    effect: dict[str, Any] = {
        "deny": {"deny": "not allowed here"},
        "allow": {"allow": True, "priority": 1},
        "require": {"require": 'model.region in ["EEA", "UK", "CH", "US"]'},
        "redact": {"redact": Redact(classes=("pan",) if number % 2 else ("email",))},
        "cap": {"cap_output_tokens": 1000 + number % 1000},
        "shadow": {"deny": "not allowed here", "mode": "shadow"},
    }[rule.effect]
    return Rule(name=f"rule{number:05d}", when=as_cel(rule), **effect)


def requests(count: int, rules: int, shape: str, *, seed: str) -> list[dict[str, Any]]:
    """`count` sets of request facts; the values of tokens, bytes and classes differ widely."""
    dice = random.Random(f"requests {seed}")
    return [
        {
            "request.tenant": f"tenant{dice.randrange(_tenants(rules, shape)):04d}",
            "request.profile": dice.choice(
                ["chat-fast", "chat-slow", "batch-night", "code-review"]
            ),
            "request.principal": f"app{dice.randrange(50)}",
            "request.agent_id": "",
            "request.end_user_id": f"user{dice.randrange(100_000)}",
            "request.data_subject_id": "",
            "labels": {
                "env": dice.choice(ENVIRONMENTS),
                "team": dice.choice(TEAMS),
                "tier": dice.choice(TIERS),
            },
            "purpose": "support",
            "data.classes": sorted(dice.sample(CLASSES, dice.randint(0, 4))),
            "data.lawful_basis": "contract",
            "subject.region": dice.choice(REGIONS),
            "subject.opt_outs": [],
            "decision.significant": False,
            "decision.human_review": False,
            "input.tokens": dice.randint(50, 40_000),
            "input.bytes": dice.randint(200, 160_000),
            "output.tokens_max": dice.randint(100, 3_000),
            "tenant.allowed_purposes": ["support"],
            "channel.tls": True,
        }
        for _ in range(count)
    ]


def candidates() -> list[Candidate]:
    """Ten models in different regions."""
    return [
        Candidate(name, {"model.name": name, "model.region": REGIONS[at % len(REGIONS)]})
        for at, name in enumerate(MODELS[:CANDIDATES])
    ]


def holds(rule: Condition, request: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    """Whether the rule matches, in plain Python: what every engine is checked against."""
    return all(_atom_holds(atom, request, candidate) for atom in rule.atoms)


def _atom_holds(atom: Atom, request: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    op, fact, value = atom
    if op == "label":
        return bool(request["labels"].get(fact) == value)
    given = candidate[fact] if fact.startswith("model.") else request[fact]
    return bool(
        {
            "eq": lambda: given == value,
            "has": lambda: value in given,
            "not_in": lambda: given not in value,
            "in": lambda: given in value,
            "above": lambda: given > value,
            "below": lambda: given < value,
            "prefix": lambda: given.startswith(value),
            "any": lambda: any(each in value for each in given),
        }[op]()
    )


def _quoted(values: list[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def as_cel(rule: Condition) -> str:
    """The condition as CEL."""
    return " && ".join(_cel_atom(*atom) for atom in rule.atoms)


def _cel_atom(op: str, fact: str, value: Any) -> str:
    if op == "label":
        return f'"{fact}" in labels && labels["{fact}"] == "{value}"'
    if op in ("not_in", "in"):
        return f"{'!' * (op == 'not_in')}({fact} in [{_quoted(value)}])"
    return {
        "eq": f'{fact} == "{value}"',
        "has": f'"{value}" in {fact}',
        "above": f"{fact} > {value}",
        "below": f"{fact} < {value}",
        "prefix": f'{fact}.startsWith("{value}")',
        "any": f"{fact}.exists(c, c in [{_quoted(value) if op == 'any' else ''}])",
    }[op]


def as_cedar(number: int, rule: Condition) -> str:
    """The condition as a Cedar policy over a flat context."""
    atoms = " && ".join(_cedar_atom(*atom) for atom in rule.atoms)
    return f'@id("{number}") permit(principal, action, resource) when {{ {atoms} }};'


def _cedar_atom(op: str, fact: str, value: Any) -> str:
    name = f"context.{fact.replace('.', '_')}"
    if op == "label":
        return f'context.labels has "{fact}" && context.labels["{fact}"] == "{value}"'
    if op in ("not_in", "in"):
        return f"{'!' * (op == 'not_in')}([{_quoted(value)}].contains({name}))"
    return {
        "eq": f'{name} == "{value}"',
        "has": f'{name}.contains("{value}")',
        "above": f"{name} > {value}",
        "below": f"{name} < {value}",
        "prefix": f'{name} like "{value}*"',
        "any": f"{name}.containsAny([{_quoted(value) if op == 'any' else ''}])",
    }[op]


def as_rego(number: int, rule: Condition) -> str:
    """The condition as a rule of a Rego set `matched`, over a flat input."""
    body = "; ".join(_rego_atom(*atom) for atom in rule.atoms)
    return f'matched contains "{number}" if {{ {body} }}'


def _rego_atom(op: str, fact: str, value: Any) -> str:
    name = f"input.{fact.replace('.', '_')}"
    if op == "label":
        return f'input.labels["{fact}"] == "{value}"'
    if op in ("not_in", "in"):
        return f"{'not ' * (op == 'not_in')}{name} in {{{_quoted(value)}}}"
    return {
        "eq": f'{name} == "{value}"',
        "has": f'"{value}" in {name}',
        "above": f"{name} > {value}",
        "below": f"{name} < {value}",
        "prefix": f'startswith({name}, "{value}")',
        "any": f"some c in {name}; c in {{{_quoted(value) if op == 'any' else ''}}}",
    }[op]
