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


def authenticator(
    *,
    service_key: str,
    admin_key: str | None,
    snapshot: Callable[[], CompiledSnapshot],
    revocations: Callable[[], Revocations],
    clock: Callable[[], float] = time.time,
) -> Authenticate:
    """Authenticate by the deployment's own keys, in constant time, or by the running snapshot's.

    What it makes raises Killed for a key or a principal that is revoked.
    """
    latest = LatestTime()
    own = [(_digest(service_key), SERVICE)]
    if admin_key is not None:
        own.append((_digest(admin_key), ADMIN))

    def authenticate(token: str) -> Principal | None:
        shown = _digest(token)
        for digest, principal in own:
            if hmac.compare_digest(shown, digest):
                return principal
        try:
            found = snapshot().authenticate(token, latest.at(int(clock())))
        except NotPossibleNow:
            return None  # before the first snapshot only the mesh itself is known
        if found is None:
            return None
        stopped = revocations().of_caller(
            key_id=found.key_id, principal=found.name, tenant=found.tenant
        )
        if stopped is not None:
            raise killed(stopped)
        return Principal(
            name=found.name,
            tenant=found.tenant,
            roles=frozenset(found.roles),
            claims=frozenset(found.claims),
            key_id=found.key_id,
        )

    return authenticate


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
