"""Paths of the tenant tree, "acme/retail/support": which are well formed, who stands above whom.

Knows no documents: whether a tenant exists is said by resources/resolve.py.
"""

import re
from functools import lru_cache

from harmost.core.limits import TENANT_DEPTH_MAX

__all__ = ["LEVEL_RULE", "ancestors", "is_path", "visible"]

# Levels are safe in a URL, a file name and a metric label alike.
_PATH = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}(?:/[a-z0-9][a-z0-9._-]{0,62})*")

LEVEL_RULE = (
    f"write at most {TENANT_DEPTH_MAX} levels parted by `/`, each of 1 to 63 of a-z, 0-9, "
    "`.`, `_` and `-`, beginning with a letter or digit"
)


def is_path(text: str) -> bool:
    """Whether `text` names a tenant: at most TENANT_DEPTH_MAX well-formed levels."""
    return _PATH.fullmatch(text) is not None and text.count("/") < TENANT_DEPTH_MAX


# Each call asks a few times for the levels of its own tenant; bounded, since callers name tenants.
@lru_cache(maxsize=4_096)
def ancestors(path: str) -> tuple[str, ...]:
    """Every level of `path` from the root down to itself: "a/b" gives ("a", "a/b"), "" gives ()."""
    levels = path.split("/") if path else []
    return tuple("/".join(levels[: depth + 1]) for depth in range(len(levels)))


def visible(principal_tenant: str, tenant: str) -> bool:
    """Whether who belongs to `principal_tenant` may see what belongs to `tenant`.

    That is its own and all below. The whole deployment, "", sees all and is seen by none but itself.
    """
    return (
        not principal_tenant
        or tenant == principal_tenant
        or tenant.startswith(principal_tenant + "/")
    )
