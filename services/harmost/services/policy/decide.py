"""Decides for `Evaluate` and `Explain` on given facts: fills in what they leave out, checks the rest.

Nothing is enforced here: whoever asks says what the facts are, but not of other tenants' models.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from harmost.core.errors import Forbidden, NotFound
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, FactValue, candidate_facts, checked_facts
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import ancestors, visible
from harmost.services.interceptors.principal import Principal

__all__ = ["Question", "question"]


class Question(NamedTuple):
    """What the engine is asked."""

    request: Mapping[str, FactValue]
    candidates: tuple[Candidate, ...]


def question(
    snapshot: CompiledSnapshot,
    principal: Principal,
    *,
    profile: str,
    given: Mapping[str, object],
    models: tuple[str, ...],
) -> Question:
    """The facts of a call: those `given`, then what principal, profile and documents say.

    Without `models` the candidates are the profile's. Raises InvalidInput for facts that are not as
    declared, NotFound for a profile or model that the tenant cannot use, Forbidden for a tenant that
    the principal may not see.
    """
    tenant = given.get("request.tenant", principal.tenant)
    if isinstance(tenant, str) and not visible(principal.tenant, tenant):
        raise Forbidden(
            f"tenant `{tenant}` is not `{principal.tenant}` or below it: leave `request.tenant` out"
        )
    output_tokens_max = 0
    if profile:
        found = snapshot.catalog.profiles.get(profile)
        if found is None or not _usable(found.metadata.tenant, str(tenant)):
            raise NotFound(f"mission profile `{profile}` does not exist: list what there is")
        models = models or tuple(
            dict.fromkeys(model for step in snapshot.steps[profile] for model in step.models)
        )
        output_tokens_max = found.spec.output_tokens_max
    known: dict[str, object] = {
        "request.tenant": tenant,
        "request.principal": principal.name,
        "request.profile": profile,
        "output.tokens_max": output_tokens_max,
        "tenant.allowed_purposes": _allowed_purposes(snapshot, str(tenant)),
        **given,
    }
    return Question(
        checked_facts(known, scope=FactScope.REQUEST),
        tuple(_candidate(snapshot, name, str(tenant)) for name in dict.fromkeys(models)),
    )


def _usable(owner: str, tenant: str) -> bool:
    """Whether calls of `tenant` may use what `owner` has: of its own line, above it or below."""
    return visible(owner, tenant) or visible(tenant, owner)


def _allowed_purposes(snapshot: CompiledSnapshot, tenant: str) -> list[str]:
    for path in reversed(ancestors(tenant)):
        found = snapshot.catalog.tenants.get(path)
        if found is not None:
            return list(found.spec.allowed_purposes)
    return []


def _candidate(snapshot: CompiledSnapshot, name: str, tenant: str) -> Candidate:
    model = snapshot.catalog.models.get(name)
    if model is None or not _usable(model.metadata.tenant, tenant):
        raise NotFound(f"model `{name}` does not exist: correct the name or leave `models` out")
    provider = snapshot.catalog.providers[model.spec.provider].spec
    price = snapshot.prices.at(int(time.time()))[name]
    return Candidate(name, candidate_facts(name, model.spec, model.spec.provider, provider, price))
