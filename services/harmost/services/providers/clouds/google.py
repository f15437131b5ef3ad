"""Google's access tokens: of a service account's key, or of a workload that another cloud vouches for.

Source: Google Cloud, "How Application Default Credentials works"; AIP-4110 to AIP-4117.
"""

import functools
import json
import os
from datetime import UTC
from importlib import import_module
from typing import Any

from harmost.core.errors import NotPossibleNow
from harmost.services.providers.grants import Grant

from .failed import REQUEST_TIMEOUT_S, failed, missing, mute

__all__ = ["google_token"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_ADVICE = "give it a credentials file of Google Cloud, as docs/credentials.md says"
FILE_BYTES_MAX = 64 * 1024


def google_token(reference: str, scope: str) -> Grant:
    """A token that "google:[/PATH|instance]" leads to, for `scope` or all of Google Cloud."""
    try:
        exceptions: Any = import_module("google.auth.exceptions")
        transport: Any = import_module("google.auth.transport.requests")
    except ImportError as error:
        raise missing(reference, "google") from error
    mute("google.auth", "google.oauth2", "urllib3")
    request = functools.partial(transport.Request(), timeout=REQUEST_TIMEOUT_S)
    try:
        credentials = _credentials(reference, scope or _SCOPE)
        credentials.refresh(request)
    except exceptions.GoogleAuthError as error:
        raise failed(reference, error, code=_code(error), advice=_ADVICE) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # a broken file's
        raise failed(reference, error, advice=_ADVICE) from None
    token, expiry = credentials.token, credentials.expiry
    if not token or expiry is None:
        raise NotPossibleNow(
            f"no credentials from `{reference}`: no token in the answer: {_ADVICE}"
        )
    return Grant((token,), expiry.replace(tzinfo=UTC).timestamp())


def _credentials(reference: str, scope: str) -> Any:
    where = reference.removeprefix("google:")
    if where == "instance":
        instance: Any = import_module("google.auth.compute_engine")
        return instance.Credentials(scopes=[scope])
    path = where or os.environ.get(_VARIABLE, "")
    if not path:
        raise NotPossibleNow(f"no credentials from `{reference}`: set `{_VARIABLE}`")
    with open(path, "rb") as file:
        info = json.loads(file.read(FILE_BYTES_MAX))
    return _of_file(info, scope)


def _of_file(info: dict[str, Any], scope: str) -> Any:
    # By type, not by what a file says of itself alone: one kind of file may run a program.
    kind = info["type"]
    if kind == "service_account":
        accounts: Any = import_module("google.oauth2.service_account")
        return accounts.Credentials.from_service_account_info(info, scopes=[scope])
    if kind != "external_account":
        raise ValueError("neither `service_account` nor `external_account`")
    if str(info["credential_source"].get("environment_id", "")).startswith("aws"):
        return import_module("google.auth.aws").Credentials.from_info(info, scopes=[scope])
    return import_module("google.auth.identity_pool").Credentials.from_info(info, scopes=[scope])


def _code(error: Exception) -> str:
    # A refused refresh tells the answer's body too; of that, only OAuth's code is told on.
    for argument in error.args:
        if isinstance(argument, dict):
            return str(argument.get("error", ""))  # pyright: ignore
    words = str(error.args[0]) if error.args else ""
    return words.partition(":")[0].removeprefix("('")
