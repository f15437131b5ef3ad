"""What the engine is asked about a call that is only described: what is left out, documents fill in.

Nothing is enforced here: whoever asks says what the facts are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harmost.core.errors import NotFound
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, FactValue, candidate_facts, checked_facts
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import ancestors, visible

__all__ = ["Question", "known_candidate", "question"]


class Question(NamedTuple):
    """What the engine is asked."""

    request: Mapping[str, FactValue]
    candidates: tuple[Candidate, ...]


def question(
    snapshot: CompiledSnapshot,
    *,
    tenant: str,
    principal: str,
    profile: str,
    given: Mapping[str, object],
    models: Sequence[str],
    now_s: int,
) -> Question:
    """The facts of a call at `now_s` (Unix seconds, for prices): those `given`, then what tenant, principal, profile and documents say.

    Without `models` the candidates are the profile's. Raises InvalidInput for facts that are not as
    declared, NotFound for a profile or model that the tenant cannot use.
    """
    output_tokens_max = 0
    if profile:
        found = snapshot.catalog.profiles.get(profile)
        if found is None or not _usable(found.metadata.tenant, tenant):
            raise NotFound(f"mission profile `{profile}` does not exist: list what there is")
        if "request.tenant" not in given and visible(tenant, found.metadata.tenant):
            tenant = found.metadata.tenant  # as a Router charges a call that names no tenant
        models = models or tuple(
            dict.fromkeys(model for step in snapshot.steps[profile] for model in step.models)
        )
        output_tokens_max = found.spec.output_tokens_max
    known: dict[str, object] = {
        "request.tenant": tenant,
        "request.principal": principal,
        "request.profile": profile,
        "output.tokens_max": output_tokens_max,
        "tenant.allowed_purposes": _allowed_purposes(snapshot, tenant),
        **given,
    }
    return Question(
        checked_facts(known, scope=FactScope.REQUEST),
        tuple(
            known_candidate(snapshot, name, tenant, now_s=now_s) for name in dict.fromkeys(models)
        ),
    )


def known_candidate(snapshot: CompiledSnapshot, name: str, tenant: str, *, now_s: int) -> Candidate:
    """The model `name` with its facts at `now_s`; NotFound if calls of `tenant` cannot use it."""
    model = snapshot.catalog.models.get(name)
    if model is None or not _usable(model.metadata.tenant, tenant):
        raise NotFound(f"model `{name}` does not exist: correct the name or leave `models` out")
    provider = snapshot.catalog.providers[model.spec.provider].spec
    price = snapshot.prices.at(now_s)[name]
    return Candidate(name, candidate_facts(name, model.spec, model.spec.provider, provider, price))


def _usable(owner: str, tenant: str) -> bool:
    """Whether calls of `tenant` may use what `owner` has: of its own line, above it or below."""
    return visible(owner, tenant) or visible(tenant, owner)


def _allowed_purposes(snapshot: CompiledSnapshot, tenant: str) -> list[str]:
    for path in reversed(ancestors(tenant)):
        found = snapshot.catalog.tenants.get(path)
        if found is not None:
            return list(found.spec.allowed_purposes)
    return []
