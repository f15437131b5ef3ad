"""Which tenants a rule is enforced for while it is rolled out. Pure, and the same everywhere."""

import hashlib

__all__ = ["PERCENT_MAX", "rolled_out"]

PERCENT_MAX = 100


def rolled_out(policy: str, tenant: str, percent: int) -> bool:
    """Whether the rules of `policy` that are `percent` rolled out are enforced for `tenant`.

    A tenant that is in stays in when the percentage rises. The rules of one policy take the same
    tenants, those of another policy others. About 1 us.
    """
    if percent >= PERCENT_MAX:
        return True
    digest = hashlib.blake2b(f"{policy}\0{tenant}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PERCENT_MAX < percent
