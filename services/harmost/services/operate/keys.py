"""Makes an API key and puts its hash into a `Tenant` document. The key itself goes to no service."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec

from harmost.client.errors import Conflict
from harmost.core.errors import InvalidInput
from harmost.core.resources.dump import dump
from harmost.core.resources.keys import new_key
from harmost.core.resources.kinds import Document, Key, Principal, TenantSpec
from harmost.core.resources.parse import Source, parse_sources
from harmost.policy.v1 import policy_pb2
from harmost.services.operate.session import Session

__all__ = ["ROLES", "create_key", "write_secret"]

Role = Literal["caller", "author", "finance", "operator"]
ROLES: tuple[Role, ...] = ("caller", "author", "finance", "operator")
TRIES_MAX = 5  # others may change documents meanwhile; five times in a row is no accident


def create_key(
    policy: Session, *, tenant: str, principal: str, roles: Sequence[str] = (), expires: str = ""
) -> str:
    """A new key for `principal` of `tenant`, known to the mesh once its snapshot has spread.

    A principal that exists keeps its roles unless `roles` are given; a new one needs at least one.
    """
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise InvalidInput(f"role `{unknown[0]}` is not known: use {', '.join(ROLES)}")
    text, key = new_key(expires=expires)
    named = cast("tuple[Role, ...]", tuple(dict.fromkeys(roles)))
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            _apply(policy, tenant, principal, named, key)
            break
        except Conflict:
            if not tries_left:
                raise
    return text


def write_secret(path: Path, text: str) -> None:
    """`text` and a line end into `path`, readable by its owner only, replaced as a whole."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(draft, path)


def _apply(policy: Session, tenant: str, principal: str, roles: tuple[Role, ...], key: Key) -> None:
    wanted = policy_pb2.ResourceRef(kind="Tenant", name=tenant)
    found = policy.call("GetResource", policy_pb2.GetResourceRequest(resource=wanted))
    document = parse_sources([Source(tenant, found.resource.yaml)])[0].document
    changed = dump(_with_key(document, principal, roles, key))
    policy.call(
        "Apply",
        policy_pb2.ApplyRequest(
            sources=[policy_pb2.Source(name=f"tenants/{tenant}.yaml", yaml=changed)],
            etag=found.snapshot_etag,
        ),
    )


def _with_key(document: Document, name: str, roles: tuple[Role, ...], key: Key) -> Document:
    spec = document.spec
    if not isinstance(spec, TenantSpec):
        raise InvalidInput(f"`{document.metadata.name}` is no Tenant but a {document.kind}")
    old = next((found for found in spec.principals if found.name == name), None)
    if old is None and not roles:
        raise InvalidInput(
            f"principal `{name}` is new to `{document.metadata.name}`: say what it may do with "
            f"`--role` ({', '.join(ROLES)})"
        )
    new = old or Principal(name=name)
    new = msgspec.structs.replace(new, roles=roles or new.roles, keys=(*(new.keys or ()), key))
    others = tuple(found for found in spec.principals if found.name != name)
    principals = (*others, new)
    if old is not None:  # keep its place: a diff of the document then shows the key alone
        principals = tuple(new if found is old else found for found in spec.principals)
    return msgspec.structs.replace(
        document, spec=msgspec.structs.replace(spec, principals=principals)
    )
