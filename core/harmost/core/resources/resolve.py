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

HINTED_PROBLEMS_MAX = 20

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
            for key_index, key in enumerate(principal.keys or ()):
                owner = KeyOwner(principal, tenant, key)
                first = owners.setdefault(key.id, owner)
                if first is not owner:
                    problems.add(
                        parsed.where("spec", "principals", index, "keys", key_index, "id"),
                        f"key id {quoted(key.id)} is taken: make another with `harmost key create`",
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
        f"{_hint(path, catalog.tenants, problems) or 'add a `Tenant` document of that name'}",
    )


def _check_references(parsed: ParsedDocument, catalog: Catalog, problems: Problems) -> None:
    spec = parsed.document.spec
    if isinstance(spec, ModelSpec):
        _check_name(parsed, ("provider",), spec.provider, catalog.providers, problems)
        _check_region(parsed, spec, catalog, problems)
        _check_price_owner(parsed, spec, catalog, problems)
        if spec.replacement:
            _check_name(parsed, ("replacement",), spec.replacement, catalog.models, problems)
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
            f"{_hint(spec.profile, catalog.profiles, problems) or 'add it or correct the name'}",
        )


def _check_region(
    parsed: ParsedDocument, spec: ModelSpec, catalog: Catalog, problems: Problems
) -> None:
    """A model must not say it is where its provider, which has an address a region, has none."""
    provider = catalog.providers.get(spec.provider)
    if provider is None or not provider.spec.regions or not spec.region:
        return
    reached = {*provider.spec.regions, provider.spec.region}
    if spec.region not in reached:
        hint = _hint(spec.region, reached, problems) or "add its address to `regions` of that one"
        problems.add(
            parsed.where("spec", "region"),
            f"provider {quoted(spec.provider)} has no address in {quoted(spec.region)}: {hint}",
        )


def _check_price_owner(
    parsed: ParsedDocument, spec: ModelSpec, catalog: Catalog, problems: Problems
) -> None:
    """Who owns the provider gets its bills: a price of 0 from below would pass every USD budget."""
    provider = catalog.providers.get(spec.provider)
    owner = parsed.document.owner
    # "unknown" is stated, too: what has no price passes every soft USD budget for nothing.
    stated = spec.price != "auto"
    if not stated or provider is None or not visible(provider.metadata.tenant, owner):
        return
    if provider.metadata.tenant != owner:
        payer = quoted(provider.metadata.tenant) if provider.metadata.tenant else "the deployment"
        problems.add(
            parsed.where("spec", "price"),
            f"provider {quoted(spec.provider)} belongs to {payer}, so only a model of {payer} "
            "may state its price: leave `price` out or name a model from there",
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
    owner = parsed.document.owner
    if name not in among:
        usable = (other for other, known in among.items() if visible(known.metadata.tenant, owner))
        hint = _hint(name, usable, problems) or f"add a `{noun.capitalize()}` document of that name"
        problems.add(place, f"{noun} {quoted(name)} does not exist: {hint}")
    elif not visible(among[name].metadata.tenant, owner):
        problems.add(
            place,
            f"{noun} {quoted(name)} belongs to a tenant that is not above "
            f"{quoted(owner)}: name one of this tenant, above it or of the whole deployment",
        )


def _hint(name: str, known: Iterable[str], problems: Problems) -> str:
    # A hint compares with every name: many of them in a large set would take minutes.
    if problems.count > HINTED_PROBLEMS_MAX:
        return ""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean `{near[0]}`?" if near else ""
