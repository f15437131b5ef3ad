"""From a key to its principal: the deployment's own service key, or a key of a `Tenant` document."""

import hashlib
import hmac
import time
from collections.abc import Callable

from harmost.core.errors import NotPossibleNow
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.services.interceptors.gate import Authenticate
from harmost.services.interceptors.principal import Principal

__all__ = ["authenticator"]

SERVICE = Principal(name="service", tenant="", roles=frozenset({"service"}))


def authenticator(service_key: str, snapshot: Callable[[], CompiledSnapshot]) -> Authenticate:
    """Authenticate by `service_key` (compared in constant time) or by the running snapshot's keys."""
    service_digest = hashlib.sha256(service_key.encode()).digest()

    def authenticate(token: str) -> Principal | None:
        if hmac.compare_digest(hashlib.sha256(token.encode()).digest(), service_digest):
            return SERVICE
        try:
            found = snapshot().authenticate(token, time.time())
        except NotPossibleNow:
            return None  # before the first snapshot only the mesh itself is known
        if found is None:
            return None
        return Principal(
            name=found.name,
            tenant=found.tenant,
            roles=frozenset(found.roles),
            claims=frozenset(found.claims),
        )

    return authenticate
