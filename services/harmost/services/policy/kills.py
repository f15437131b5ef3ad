"""What revocations become by a Revoke or a Restore: who may stop what, for whom. No I/O.

A key revokes within its own tenant only. What a key of a higher tenant revoked stands until one of
that tenant, or above it, restores it.
"""

from typing import NamedTuple

from harmost.core.errors import Forbidden, InvalidInput, NotFound, NotPossibleNow
from harmost.core.policy.revocations import (
    REVOCATIONS_MAX,
    Revocation,
    RevocationKind,
    Revocations,
)
from harmost.core.resources.resolve import Catalog
from harmost.core.tenants import visible
from harmost.services.interceptors.principal import Principal

__all__ = ["Stop", "StopChange", "restored", "revoked"]

MISSION_KEPT_MS = 24 * 3600 * 1000  # longer than any call's deadline


class Stop(NamedTuple):
    """What is asked for: `tenant` "" leaves open for whom."""

    kind: RevocationKind
    name: str
    tenant: str = ""
    reason: str = ""


class StopChange(NamedTuple):
    """Revocations as they become; `put` and `removed` are what differs, both empty: nothing does."""

    revocations: Revocations
    revocation: Revocation
    put: tuple[Revocation, ...]
    removed: tuple[Revocation, ...]


def revoked(
    known: Revocations, stop: Stop, *, catalog: Catalog, principal: Principal, now_ms: int
) -> StopChange:
    """What is stopped with `stop` as well. Raises NotFound, InvalidInput, NotPossibleNow.

    Revocations of missions that are over are forgotten on the way.
    """
    if not stop.name.isprintable():
        raise InvalidInput("`name` has characters that cannot be printed: correct it")
    wanted = Revocation(
        kind=stop.kind,
        name=stop.name,
        tenant=_tenant_of(stop, catalog, principal),
        reason=stop.reason,
        author=principal.name,
        author_tenant=principal.tenant,
        revoked_at_ms=now_ms,
    )
    old = next((each for each in known.all if each.key == wanted.key), None)
    if old is not None and not _is_stronger(wanted, old):
        return StopChange(known, old, (), ())
    over = tuple(each for each in known.all if _is_over(each, now_ms) and each.key != wanted.key)
    kept = [each for each in known.all if each is not old and each not in over]
    if len(kept) >= REVOCATIONS_MAX:
        raise NotPossibleNow(
            f"{REVOCATIONS_MAX} revocations are in force, as many as there may be: restore some, "
            "or revoke the tenant instead"
        )
    return StopChange(
        Revocations(known.sequence + 1, [*kept, wanted]), wanted, put=(wanted,), removed=over
    )


def restored(known: Revocations, stop: Stop, *, principal: Principal) -> StopChange:
    """What is stopped without `stop`. Raises NotFound, Forbidden, InvalidInput."""
    found = [
        each
        for each in known.all
        if (each.kind, each.name) == (stop.kind, stop.name)
        and visible(principal.tenant, each.tenant)
        and stop.tenant in ("", each.tenant)
    ]
    if not found:
        raise NotFound(f"{stop.kind} `{stop.name}` is not revoked: list what is")
    if len(found) > 1:
        tenants = ", ".join(f"`{each.tenant}`" for each in found[:8])
        raise InvalidInput(
            f"{stop.kind} `{stop.name}` is revoked for several tenants: name one of {tenants}"
        )
    if not visible(principal.tenant, found[0].author_tenant):
        raise Forbidden(
            f"{stop.kind} `{stop.name}` was revoked by "
            f"`{found[0].author_tenant or 'the whole deployment'}`: ask there to restore it"
        )
    kept = [each for each in known.all if each is not found[0]]
    return StopChange(Revocations(known.sequence + 1, kept), found[0], put=(), removed=(found[0],))


def _tenant_of(stop: Stop, catalog: Catalog, principal: Principal) -> str:
    """For whom `stop` holds; what it names must exist, as far as documents say what exists."""
    match stop.kind:
        case "tenant":
            tenant = stop.name if stop.name in catalog.tenants else None
        case "key":
            owner = catalog.keys.get(stop.name)
            tenant = owner.tenant if owner else None
        case "principal":
            tenant = _tenant_of_principal(stop, catalog, principal)
        case "profile":
            profile = catalog.profiles.get(stop.name)
            tenant = stop.tenant or principal.tenant
            if profile is None or not _shared(tenant, profile.metadata.tenant):
                tenant = None
        case _:
            tenant = stop.tenant or principal.tenant
    if tenant is None or not visible(principal.tenant, tenant):
        raise NotFound(f"{stop.kind} `{stop.name}` does not exist: list what there is")
    if stop.tenant not in ("", tenant):
        raise InvalidInput(
            f"{stop.kind} `{stop.name}` is of tenant `{tenant}`, not `{stop.tenant}`: "
            "leave the tenant out"
        )
    if tenant and tenant not in catalog.tenants:
        raise NotFound(f"tenant `{tenant}` does not exist: list what there is")
    return tenant


def _tenant_of_principal(stop: Stop, catalog: Catalog, principal: Principal) -> str | None:
    """The tenant whose document names it; None if none does."""
    tenants = [
        path
        for path, tenant in catalog.tenants.items()
        if visible(principal.tenant, path)
        and stop.tenant in ("", path)
        and any(each.name == stop.name for each in tenant.spec.principals)
    ]
    if len(tenants) > 1:
        raise InvalidInput(
            f"principal `{stop.name}` is of several tenants: name one of {', '.join(tenants[:8])}"
        )
    return tenants[0] if tenants else None


def _shared(tenant: str, owner: str) -> bool:
    return visible(tenant, owner) or visible(owner, tenant)


def _is_stronger(wanted: Revocation, old: Revocation) -> bool:
    """Whether `wanted` says more than `old`: it comes from above, or from the same place anew."""
    if old.author_tenant == wanted.author_tenant:
        return old.reason != wanted.reason
    return visible(wanted.author_tenant, old.author_tenant)


def _is_over(revocation: Revocation, now_ms: int) -> bool:
    return revocation.kind == "mission" and now_ms - revocation.revoked_at_ms > MISSION_KEPT_MS
