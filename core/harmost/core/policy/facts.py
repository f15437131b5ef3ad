"""Which facts there are, and the facts of one call and of one candidate model.

`facts.yaml` beside this file declares them; everything else here is made from it. Finding data
classes in a prompt and counting tokens is not done here: both come in as parameters.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import msgspec
import yaml

from harmost.core.budget.price import ModelPrice
from harmost.core.chat import Call
from harmost.core.errors import InvalidInput, Violation
from harmost.core.policy.cel.frame import Schema
from harmost.core.privacy.classes import with_implied
from harmost.core.resources.kinds import ModelSpec, ProviderSpec, TenantSpec

__all__ = [
    "Fact",
    "FactScope",
    "FactType",
    "FactValue",
    "candidate_fact_names",
    "candidate_facts",
    "checked_facts",
    "declared_facts",
    "default_of",
    "fact_schema",
    "request_facts",
]

FactValue: TypeAlias = str | int | bool | float | list[str] | Mapping[str, str] | Mapping[str, int]

# CEL integers have 64 bits.
_INT_MAX = 2**63 - 1


class FactType(StrEnum):
    """Type of a fact, written as in CEL."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    DOUBLE = "double"
    STRINGS = "list(string)"
    STRING_MAP = "map(string,string)"
    INT_MAP = "map(string,int)"


class FactScope(StrEnum):
    """Whether a fact is the same for the whole call, or another for each candidate model."""

    REQUEST = "request"
    CANDIDATE = "candidate"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One declared fact. `meaning` is one sentence for people."""

    name: str
    type: FactType
    scope: FactScope
    meaning: str


@cache
def declared_facts() -> Mapping[str, Fact]:
    """Every fact by name, in the order of facts.yaml. Read once."""
    text = files("harmost.core.policy").joinpath("facts.yaml").read_text(encoding="utf-8")
    declared: dict[str, Any] = yaml.safe_load(text)
    return {
        name: Fact(
            name=name,
            type=FactType(said["type"]),
            scope=FactScope(scope),
            meaning=said["meaning"],
        )
        for scope, facts in declared.items()
        for name, said in facts.items()
    }


@cache
def candidate_fact_names() -> frozenset[str]:
    """Names of the facts that are another for each candidate."""
    facts = declared_facts().values()
    return frozenset(fact.name for fact in facts if fact.scope is FactScope.CANDIDATE)


@cache
def fact_schema() -> Schema:
    """The declared facts as slots of a frame. What is not given has the default of its type."""
    types: dict[FactScope, dict[str, str]] = {scope: {} for scope in FactScope}
    for name, fact in declared_facts().items():
        types[fact.scope][name] = fact.type.value
    return Schema(types[FactScope.REQUEST], types[FactScope.CANDIDATE], defaults=True)


def default_of(name: str) -> FactValue:
    """What the declared fact `name` is where it is not given."""
    return _EMPTY[declared_facts()[name].type]()


def request_facts(
    call: Call,
    *,
    tenant: TenantSpec | None,
    data_classes: Iterable[str],
    input_tokens: int,
    input_bytes: int,
    modalities: Iterable[str],
    output_tokens_max: int,
    tls: bool,
) -> dict[str, FactValue]:
    """The request facts of `call`; `tenant` is the nearest `Tenant` document at or above its path.

    `data_classes` are those found in the input; claimed ones and implied ones are added.
    """
    claims = call.claims
    return {
        "request.tenant": call.tenant,
        "request.profile": call.profile,
        "request.principal": call.principal,
        "request.agent_id": call.agent_id,
        "request.end_user_id": call.end_user_id,
        "request.data_subject_id": call.data_subject_id,
        "labels": dict(call.labels),
        "purpose": claims.purpose,
        "data.classes": with_implied((*data_classes, *claims.data_classes)),
        "data.lawful_basis": claims.lawful_basis,
        "subject.region": claims.subject_region,
        "subject.opt_outs": list(claims.opt_outs),
        "decision.significant": claims.significant_decision,
        "decision.human_review": claims.human_review,
        "input.tokens": input_tokens,
        "input.bytes": input_bytes,
        "input.modalities": list(modalities),
        "output.tokens_max": output_tokens_max,
        "tenant.allowed_purposes": list(tenant.allowed_purposes) if tenant else [],
        "channel.tls": tls,
    }


def candidate_facts(
    name: str,
    model: ModelSpec,
    provider_name: str,
    provider: ProviderSpec,
    price: ModelPrice | None,
) -> dict[str, FactValue]:
    """The candidate facts of the model `name`; `price` is None where the catalog knows none."""
    return {
        "model.name": name,
        "model.version": model.version,
        "model.region": model.region or provider.region,
        "model.status": model.status,
        "model.capabilities": list(model.capabilities),
        "model.quality": dict(model.quality),
        "model.certifications": list(model.certifications),
        "model.context_tokens_max": model.context_tokens_max,
        "model.output_tokens_max": model.output_tokens_max,
        "model.price_known": price is not None,
        "model.input_usd_picos_per_token": price.input_usd_picos if price else 0,
        "model.output_usd_picos_per_token": price.output_usd_picos if price else 0,
        "model.provider": provider_name,
        "provider.name": provider_name,
        "provider.region": provider.region,
        "provider.dpa": provider.dpa,
        "provider.baa": provider.baa,
        "provider.pci_aoc": provider.pci_aoc,
        "provider.transfer_mechanism": provider.transfer_mechanism,
        "provider.trains_on_data": provider.trains_on_data,
        "provider.retention_days": provider.retention_days,
    }


def checked_facts(given: Mapping[str, object], *, scope: FactScope) -> dict[str, FactValue]:
    """All facts of `scope`: those `given` by an outsider, checked, and defaults for the others.

    A whole float stands for an int, since JSON numbers are all floats. Raises InvalidInput with one
    violation for each fact that is unknown or of another type.
    """
    declared = {name: fact for name, fact in declared_facts().items() if fact.scope is scope}
    violations = [
        Violation(name, f"no {scope} fact is called `{name[:100]}`: see facts.yaml for all")
        for name in given
        if name not in declared
    ]
    facts: dict[str, FactValue] = {}
    for name, fact in declared.items():
        try:
            facts[name] = _typed(given[name], fact.type) if name in given else _EMPTY[fact.type]()
        except msgspec.ValidationError as error:
            problem = f"`{name}` is not of type {fact.type}: {str(error).lower()}"
            violations.append(Violation(name, problem))
    if violations:
        raise InvalidInput("facts are not as declared: correct those named", violations=violations)
    if scope is FactScope.REQUEST and "data.classes" in given:
        facts["data.classes"] = with_implied(msgspec.convert(given["data.classes"], list[str]))
    return facts


_PYTHON_TYPES: Mapping[FactType, Any] = {
    FactType.STRING: str,
    FactType.BOOL: bool,
    FactType.DOUBLE: float,
    FactType.STRINGS: list[str],
    FactType.STRING_MAP: dict[str, str],
}

# What makes the default: a fresh one, since callers may change a list or map.
_EMPTY: Mapping[FactType, Callable[[], FactValue]] = {
    FactType.STRING: str,
    FactType.INT: int,
    FactType.BOOL: bool,
    FactType.DOUBLE: float,
    FactType.STRINGS: list[str],
    FactType.STRING_MAP: dict[str, str],
    FactType.INT_MAP: dict[str, int],
}


def _typed(value: object, fact_type: FactType) -> FactValue:
    if fact_type is FactType.INT:
        return _whole(msgspec.convert(value, float | int))
    if fact_type is FactType.INT_MAP:
        numbers = msgspec.convert(value, dict[str, float | int])
        return {key: _whole(number) for key, number in numbers.items()}
    typed: FactValue = msgspec.convert(value, _PYTHON_TYPES[fact_type])
    return typed


def _whole(number: float) -> int:
    if number != number // 1 or abs(number) > _INT_MAX:
        raise msgspec.ValidationError("expected a whole number of 64 bits")
    return int(number)
