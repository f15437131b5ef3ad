"""API keys, `hm_<id>_<secret>`: how one is made, told from nonsense, and checked against its hash."""

import hashlib
import hmac
import re
import secrets
from datetime import datetime

from harmost.core.resources.kinds import Key

__all__ = ["expires_s", "is_hash", "is_key_id", "key_id", "new_key", "verify"]

_ID_BYTES = 6  # 48 bits: two of a million keys are alike once in 600 deployments, and then refused
_SECRET_BYTES = 32
_KEY = re.compile(r"hm_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_KEY_ID = re.compile(r"[0-9a-f]{12}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def new_key(*, expires: str = "") -> tuple[str, Key]:
    """A fresh key's text, shown once and kept nowhere, and what a `Tenant` keeps of it."""
    identity = secrets.token_hex(_ID_BYTES)
    text = f"hm_{identity}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return text, Key(id=identity, hash=_hash(text), expires=expires)


def key_id(token: str) -> str | None:
    """The id in `token`; None if it is no well-formed key."""
    match = _KEY.fullmatch(token)
    return match[1] if match else None


def verify(token: str, key: Key) -> bool:
    """Whether `token` is the key that `key` was made of; takes as long for a near miss. No clock."""
    return hmac.compare_digest(_hash(token), key.hash)


def expires_s(key: Key) -> float:
    """When `key` ends, in Unix seconds; infinite if never. ValueError if that is no RFC 3339 time."""
    if not key.expires:
        return float("inf")
    when = datetime.fromisoformat(key.expires)
    if when.tzinfo is None:
        raise ValueError(f"`{key.expires}` has no time zone")
    return when.timestamp()


def is_key_id(text: str) -> bool:
    """Whether `text` can be a key's id."""
    return _KEY_ID.fullmatch(text) is not None


def is_hash(text: str) -> bool:
    """Whether `text` can be a key's hash."""
    return _HASH.fullmatch(text) is not None


def _hash(token: str) -> str:
    # A key has 256 random bits: one plain SHA-256 is as strong as a slow hash, at 1 us.
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
