"""Kill switches: what is stopped now, and whether a call or its caller is among it.

Knows nothing of how revocations travel or who may make them.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from harmost.core.errors import Killed
from harmost.core.tenants import ancestors, visible

__all__ = ["REVOCATIONS_MAX", "Revocation", "RevocationKind", "Revocations", "killed"]

# About 150 bytes each in a message and 1 KB in memory: what stops more than this is a tenant.
REVOCATIONS_MAX = 10_000

RevocationKind = Literal["tenant", "profile", "agent", "key", "principal", "mission"]


class Revocation(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One kill switch that is on.

    It meets calls charged at or below `tenant` ("": all); of a key or principal it is the tenant that
    this belongs to. `author_tenant` is where whoever revoked belongs.
    """

    kind: RevocationKind
    name: str
    tenant: str = ""
    reason: str = ""
    author: str = ""
    author_tenant: str = ""
    revoked_at_ms: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one of."""
        return self.kind, self.name, self.tenant


class Revocations:
    """Everything that is stopped. Immutable; `sequence` rises with each change."""

    def __init__(self, sequence: int = 0, revocations: Iterable[Revocation] = ()) -> None:
        self.sequence = sequence
        self.all = tuple(sorted(revocations, key=lambda each: each.key))
        self._by_name: dict[tuple[str, str], tuple[Revocation, ...]] = {}
        for each in self.all:
            found = self._by_name.get((each.kind, each.name), ())
            self._by_name[each.kind, each.name] = (*found, each)

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of them, for a signature."""
        return hashlib.sha256(msgspec.msgpack.encode(self.all)).digest()

    def of_caller(self, *, key_id: str, principal: str, tenant: str) -> Revocation | None:
        """What stops whoever calls; `tenant` is the principal's own. O(1); 0.1 us with none."""
        if not self._by_name:
            return None
        for each in self._by_name.get(("key", key_id), ()) if key_id else ():
            return each
        for each in self._by_name.get(("principal", principal), ()):
            if each.tenant == tenant:
                return each
        return None

    def of_call(
        self, *, tenant: str, profile: str, agent_id: str, record_id: str
    ) -> Revocation | None:
        """What stops a call; `tenant` is the path that is charged. O(levels); 0.1 us with none."""
        if not self._by_name:
            return None
        for path in ancestors(tenant):
            for each in self._by_name.get(("tenant", path), ()):
                return each
        for named in (("profile", profile), ("agent", agent_id), ("mission", record_id)):
            for each in self._by_name.get(named, ()):
                if visible(each.tenant, tenant):
                    return each
        return None


def killed(revocation: Revocation) -> Killed:
    """The error that tells a revocation."""
    why = f": {revocation.reason}" if revocation.reason else ""
    return Killed(
        f"{revocation.kind} `{revocation.name}` is stopped by a kill switch{why}: "
        "ask who runs this deployment to restore it",
        details={
            "kind": revocation.kind,
            "name": revocation.name,
            "tenant": revocation.tenant,
        },
    )
