"""Who makes the RPC that is being served."""

from contextvars import ContextVar
from dataclasses import dataclass

from harmost.core.errors import Unauthenticated

__all__ = ["PRINCIPAL", "Principal", "current_principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `tenant` "" is the whole deployment; `roles` are "caller", "author", …, "service".

    `key_id` is that of the `Tenant` document's key; "" for the deployment's own keys.
    """

    name: str
    tenant: str
    roles: frozenset[str]
    claims: frozenset[str] = frozenset()
    key_id: str = ""


PRINCIPAL: ContextVar[Principal] = ContextVar("harmost.principal")


def current_principal() -> Principal:
    """The principal of this task's RPC; raises `Unauthenticated` outside one."""
    try:
        return PRINCIPAL.get()
    except LookupError:
        raise Unauthenticated("no principal: this is not an authenticated call") from None
