"""Takes secrets out of words that a provider chose. Pure; for failures, not for the hot path."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

import msgspec

from harmost.core.providers.codec import ProviderError

__all__ = ["HIDDEN", "discreet", "hidden"]

HIDDEN = "[secret]"
_SHORTEST_CHARS = 6  # a cut end of a secret that is shorter tells nothing, and may be any word


def discreet(error: ProviderError, secrets: Iterable[str]) -> ProviderError:
    """`error` without `secrets` in its message."""
    return msgspec.structs.replace(error, message=hidden(error.message, secrets))


def hidden(text: str, secrets: Iterable[str]) -> str:
    """`text` without `secrets`, also as URLs, JSON and Base64 write them, or cut off at its end.

    O(text x secrets).
    """
    for secret in secrets:
        if not secret:
            continue
        for form in _forms(secret):
            text = _without_end(text.replace(form, HIDDEN), form)
    return text


@lru_cache(maxsize=256)
def _forms(secret: str) -> tuple[str, ...]:
    data = secret.encode()
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found.add(msgspec.json.encode(secret)[1:-1].decode())
    for lead, cut in ((0, 0), (1, 2), (2, 3)):  # it may stand anywhere in what was encoded
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * lead + data).decode()
            known = (lead + len(data)) * 8 // 6
            found.add(whole[cut:known])
    told = (form for form in found if form == secret or len(form) >= _SHORTEST_CHARS)
    return tuple(sorted(told, key=len, reverse=True))


def _without_end(text: str, form: str) -> str:
    for length in range(min(len(form) - 1, len(text)), _SHORTEST_CHARS - 1, -1):
        if text.endswith(form[:length]):
            return text[:-length] + HIDDEN
    return text
