"""Decides for `Evaluate` and `Explain` on given facts: a principal asks about its own tenants only."""

import time
from collections.abc import Mapping

from harmost.core.errors import Forbidden
from harmost.core.resources.question import Question
from harmost.core.resources.question import question as asked
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.core.tenants import visible
from harmost.services.interceptors.principal import Principal

__all__ = ["Question", "check_tenant", "question"]


def question(
    snapshot: CompiledSnapshot,
    principal: Principal,
    *,
    profile: str,
    given: Mapping[str, object],
    models: tuple[str, ...],
) -> Question:
    """What the engine is asked; where `given` names no tenant, it is the one a Router would charge.

    Raises as core's `question` does, and Forbidden for a tenant that the principal may not see.
    """
    tenant = given.get("request.tenant", principal.tenant)
    check_tenant(principal, tenant)
    return asked(
        snapshot,
        tenant=str(tenant),
        principal=principal.name,
        profile=profile,
        given=given,
        models=models,
        now_s=int(time.time()),
    )


def check_tenant(principal: Principal, tenant: object) -> None:
    """Raises Forbidden for a `tenant` that the principal may not see."""
    if isinstance(tenant, str) and not visible(principal.tenant, tenant):
        raise Forbidden(
            f"tenant `{tenant}` is not `{principal.tenant}` or below it: leave `request.tenant` out"
        )
