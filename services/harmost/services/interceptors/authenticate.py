"""From a key to its principal: the deployment's own two keys, or a key of a `Tenant` document.

A clock that goes backwards revives no key: time here only goes on.
"""

import hashlib
import hmac
import time
from collections.abc import Callable

from harmost.core.errors import NotPossibleNow
from harmost.core.policy.expiry import LatestTime
from harmost.core.policy.revocations import Revocations, killed
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.router.v1 import router_pb2
from harmost.services.interceptors.gate import Authenticate
from harmost.services.interceptors.principal import Principal

__all__ = ["authenticator"]

SERVICE = Principal(name="service", tenant="", roles=frozenset({"service"}))
ADMIN = Principal(
    name="admin",
    tenant="",
    roles=frozenset({"caller", "author", "finance", "operator"}),
    claims=frozenset(field.name for field in router_pb2.Claims.DESCRIPTOR.fields),
)
KNOWN_MAX = 10_000  # keys that are remembered: all in use, of most deployments; 4 MB


def authenticator(
    *,
    service_key: str,
    admin_key: str | None,
    snapshot: Callable[[], CompiledSnapshot],
    revocations: Callable[[], Revocations],
    clock: Callable[[], float] = time.time,
) -> Authenticate:
    """Authenticate by the deployment's own keys, in constant time, or by the running snapshot's.

    What it makes raises Killed for a key or a principal that is revoked. Keys that were found are
    remembered by their digest until the snapshot changes or they end.
    """
    latest = LatestTime()
    own = [(_digest(service_key), SERVICE)]
    if admin_key is not None:
        own.append((_digest(admin_key), ADMIN))
    known = _Known()

    def authenticate(token: str) -> Principal | None:
        shown = _digest(token)
        for digest, principal in own:
            if hmac.compare_digest(shown, digest):
                return principal
        try:
            running = snapshot()
        except NotPossibleNow:
            return None  # before the first snapshot only the mesh itself is known
        found = known.principal(shown, token, running, latest.at(int(clock())))
        if found is None:
            return None
        stopped = revocations().of_caller(
            key_id=found.key_id, principal=found.name, tenant=found.tenant
        )
        if stopped is not None:
            raise killed(stopped)
        return found

    return authenticate


class _Known:
    """Principals by the digest of their key, as one snapshot says. What is not known is not kept:
    guesses push nobody out."""

    def __init__(self) -> None:
        self._snapshot: CompiledSnapshot | None = None
        self._principals: dict[bytes, tuple[Principal, float]] = {}

    def principal(
        self, digest: bytes, token: str, snapshot: CompiledSnapshot, now_s: float
    ) -> Principal | None:
        """Whom `token` belongs to now; `digest` is its own."""
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._principals.clear()
        found = self._principals.get(digest)
        if found is not None:
            return found[0] if now_s < found[1] else None
        caller = snapshot.authenticate(token, now_s)
        if caller is None:
            return None
        principal = Principal(
            name=caller.name,
            tenant=caller.tenant,
            roles=caller.roles,
            claims=caller.claims,
            key_id=caller.key_id,
        )
        if len(self._principals) < KNOWN_MAX:
            self._principals[digest] = principal, caller.ends_s
        return principal


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
