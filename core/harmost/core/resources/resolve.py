"""Documents into one catalog in which every name leads somewhere, or all that does not.

Says whether documents fit together; what one document says by itself is checks.py's, whether its
rules, steps and prices compile is snapshot.py's.

A document may name only what belongs to its own tenant or stands above it: else an author of one
tenant could spend, or send data, through another's provider.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from harmost.core.resources.checks import check_document
from harmost.core.resources.kinds import (
    BudgetSpec,
    Key,
    Metadata,
    MissionProfileSpec,
    ModelSpec,
    PolicySpec,
    Principal,
    ProviderSpec,
    Spec,
    TenantSpec,
)
from harmost.core.resources.parse import ParsedDocument, Problems
from harmost.core.resources.shapes import quoted
from harmost.core.tenants import ancestors, visible

__all__ = ["Catalog", "KeyOwner", "Resource", "catalog_of", "resolve"]

SpecT = TypeVar("SpecT", bound=Spec)
SpecT_co = TypeVar("SpecT_co", bound=Spec, covariant=True)


@dataclass(frozen=True, slots=True)
class Resource(Generic[SpecT_co]):
    """A document of a known kind."""

    metadata: Metadata
    spec: SpecT_co


class KeyOwner(NamedTuple):
    """Whose key it is: a principal of `tenant`."""

    principal: Principal
    tenant: str
    key: Key


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every document by kind and name, read only; `keys` by key id over all tenants."""

    tenants: Mapping[str, Resource[TenantSpec]]
    providers: Mapping[str, Resource[ProviderSpec]]
    models: Mapping[str, Resource[ModelSpec]]
    profiles: Mapping[str, Resource[MissionProfileSpec]]
    policies: Mapping[str, Resource[PolicySpec]]
    budgets: Mapping[str, Resource[BudgetSpec]]
    keys: Mapping[str, KeyOwner]


def resolve(documents: Sequence[ParsedDocument]) -> Catalog:
    """The catalog of `documents`, or InvalidDocuments with every problem. O(documents)."""
    problems = Problems()
    catalog = catalog_of(documents, problems)
    problems.raise_any()
    return catalog


def catalog_of(documents: Sequence[ParsedDocument], problems: Problems) -> Catalog:
    """The catalog of `documents`; what is wrong goes to `problems`, and then it is not to be used."""
    ordered = sorted(documents, key=lambda parsed: parsed.key)  # one order, whoever sent what first
    for parsed in ordered:
        check_document(parsed, problems.add)
    catalog = Catalog(
        tenants=_by_name(ordered, TenantSpec),
        providers=_by_name(ordered, ProviderSpec),
        models=_by_name(ordered, ModelSpec),
        profiles=_by_name(ordered, MissionProfileSpec),
        policies=_by_name(ordered, PolicySpec),
        budgets=_by_name(ordered, BudgetSpec),
        keys=_keys(ordered, problems),
    )
    for parsed in ordered:
        _check_tenant_exists(parsed, catalog, problems)
        _check_references(parsed, catalog, problems)
    _check_budgets(ordered, problems)
    return catalog


def _by_name(
    documents: Iterable[ParsedDocument], kind: type[SpecT]
) -> Mapping[str, Resource[SpecT]]:
    found: dict[str, Resource[SpecT]] = {}
    for parsed in documents:
        spec = parsed.document.spec
        if isinstance(spec, kind):
            found[parsed.document.metadata.name] = Resource(parsed.document.metadata, spec)
    return MappingProxyType(found)


def _keys(documents: Iterable[ParsedDocument], problems: Problems) -> Mapping[str, KeyOwner]:
    owners: dict[str, KeyOwner] = {}
    for parsed in documents:
        if not isinstance(parsed.document.spec, TenantSpec):
            continue
        tenant = parsed.document.metadata.name
        for index, principal in enumerate(parsed.document.spec.principals):
            for key_index, key in enumerate(principal.keys):
                owner = KeyOwner(principal, tenant, key)
                first = owners.setdefault(key.id, owner)
                if first is not owner:
                    problems.add(
                        parsed.where("spec", "principals", index, "keys", key_index, "id"),
                        f"key id {quoted(key.id)} is already {quoted(first.principal.name)}'s of "
                        f"tenant {quoted(first.tenant)}: make another key",
                    )
    return MappingProxyType(owners)


def _check_tenant_exists(parsed: ParsedDocument, catalog: Catalog, problems: Problems) -> None:
    path = parsed.document.owner
    missing = [level for level in ancestors(path) if level not in catalog.tenants]
    if not missing:
        return
    field = "name" if parsed.document.kind == "Tenant" else "tenant"
    problems.add(
        parsed.where("metadata", field),
        f"tenant {quoted(missing[0])} does not exist: "
        f"{_hint(path, catalog.tenants) or 'add a `Tenant` document of that name'}",
    )


def _check_references(parsed: ParsedDocument, catalog: Catalog, problems: Problems) -> None:
    spec = parsed.document.spec
    if isinstance(spec, ModelSpec):
        _check_name(parsed, ("provider",), spec.provider, catalog.providers, problems)
    elif isinstance(spec, MissionProfileSpec):
        for index, name in enumerate(spec.models):
            _check_name(parsed, ("models", index), name, catalog.models, problems)
        for step_index, step in enumerate(spec.steps):
            for index, name in enumerate(step.models):
                path = ("steps", step_index, "models", index)
                _check_name(parsed, path, name, catalog.models, problems)
    elif isinstance(spec, BudgetSpec) and spec.profile and spec.profile not in catalog.profiles:
        problems.add(
            parsed.where("spec", "profile"),
            f"mission profile {quoted(spec.profile)} does not exist: "
            f"{_hint(spec.profile, catalog.profiles) or 'add it or correct the name'}",
        )


def _check_name(
    parsed: ParsedDocument,
    path: tuple[str | int, ...],
    name: str,
    among: Mapping[str, Resource[ProviderSpec]] | Mapping[str, Resource[ModelSpec]],
    problems: Problems,
) -> None:
    noun = "provider" if path[0] == "provider" else "model"
    place = parsed.where("spec", *path)
    named = among.get(name)
    if named is None:
        hint = _hint(name, among) or f"add a `{noun.capitalize()}` document of that name"
        problems.add(place, f"{noun} {quoted(name)} does not exist: {hint}")
    elif not visible(named.metadata.tenant, parsed.document.owner):
        problems.add(
            place,
            f"{noun} {quoted(name)} belongs to tenant {quoted(named.metadata.tenant)}, which is "
            f"not above {quoted(parsed.document.owner)}: name one of this tenant or above it",
        )


def _check_budgets(documents: Iterable[ParsedDocument], problems: Problems) -> None:
    seen: dict[tuple[str, ...], ParsedDocument] = {}
    for parsed in documents:
        spec = parsed.document.spec
        if not isinstance(spec, BudgetSpec):
            continue
        for index, limit in enumerate(spec.limits):
            unit = "usd" if limit.usd else "tokens" if limit.tokens else "requests"
            narrowed = (spec.profile, spec.agent, spec.end_user)
            node = (parsed.document.owner, *narrowed, unit, limit.window, limit.enforcement)
            first = seen.setdefault(node, parsed)
            place = parsed.where("spec", "limits", index)
            if first is not parsed:
                problems.add(
                    place,
                    f"budget {quoted(first.document.metadata.name)} already has a "
                    f"{limit.enforcement} limit in {unit} a {limit.window} for the same node: "
                    "remove one",
                )
            elif place != first.where("spec", "limits", _first_index(spec, index)):
                problems.add(
                    place,
                    f"the budget has another {limit.enforcement} limit in {unit} a "
                    f"{limit.window}: remove one",
                )


def _first_index(spec: BudgetSpec, index: int) -> int:
    """The first limit of the same unit, window and enforcement as limit `index`."""
    limit = spec.limits[index]
    return next(
        number
        for number, other in enumerate(spec.limits)
        if (other.window, other.enforcement) == (limit.window, limit.enforcement)
        and (bool(other.usd), bool(other.tokens)) == (bool(limit.usd), bool(limit.tokens))
    )


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean `{near[0]}`?" if near else ""
