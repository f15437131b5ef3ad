"""What is told of a cloud's library that failed: never its words, which may hold what it was given."""

import logging
import re

from harmost.core.errors import NotPossibleNow

__all__ = ["REQUEST_TIMEOUT_S", "failed", "missing", "mute"]

REQUEST_TIMEOUT_S = 5  # for each of the requests that a token takes

# Codes of AWS, of OAuth 2 and of Entra: `ExpiredToken`, `invalid_grant`, `AADSTS7000215`.
_CODE = re.compile(r"AADSTS\d{4,8}|[a-z]{3,20}(?:_[a-z]{2,20}){1,4}|[A-Z][A-Za-z]{5,30}")


def missing(reference: str, extra: str) -> NotPossibleNow:
    """The library is not there."""
    return NotPossibleNow(
        f"no credentials from `{reference}`: the package is missing: install `harmost[{extra}]`"
    )


def failed(reference: str, error: Exception, *, code: str = "", advice: str) -> NotPossibleNow:
    """The library could not give what `reference` names. `code`: the vendor's, told if it is one."""
    name = type(error).__name__
    if _CODE.fullmatch(code) and code != name:
        name = f"{name} `{code}`"
    return NotPossibleNow(f"no credentials from `{reference}`: {name}: {advice}")


def mute(*libraries: str) -> None:
    """Let `libraries` log nothing: botocore logs a refusal with all that the server says, at WARNING."""
    for name in libraries:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
