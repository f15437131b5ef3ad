"""Entra ID's access tokens: of an application by its secret or certificate, a workload, a machine.

Source: Microsoft, "Azure Identity client library for Python"; RFC 6749, section 4.4.
"""

import os
import re
from typing import Any

from harmost.services.providers.grants import Grant

from .failed import REQUEST_TIMEOUT_S, failed, missing, mute

__all__ = ["entra_token"]

_SCOPE = "https://cognitiveservices.azure.com/.default"
_CODE = re.compile(r"AADSTS\d{4,8}")
_ADVICE = "set what Azure's tools read, as docs/credentials.md says"


def entra_token(reference: str, scope: str) -> Grant:
    """A token that "entra:[instance]" leads to, for `scope` or Azure's AI services."""
    try:
        from azure.core.exceptions import AzureError
    except ImportError as error:
        raise missing(reference, "entra") from error
    mute("azure", "msal", "urllib3")
    try:
        with _credential(reference) as credential:
            token = credential.get_token(scope or _SCOPE)
    except ImportError as error:
        raise missing(reference, "entra") from error
    except AzureError as error:
        found = _CODE.search(str(error))
        code = found[0] if found is not None else ""
        raise failed(reference, error, code=code, advice=_ADVICE) from None
    except (OSError, ValueError) as error:
        raise failed(reference, error, advice=_ADVICE) from None
    return Grant((token.token,), float(token.expires_on))


def _credential(reference: str) -> Any:
    from azure.identity import (
        EnvironmentCredential,
        ManagedIdentityCredential,
        WorkloadIdentityCredential,
    )

    options: dict[str, Any] = {
        "connection_timeout": REQUEST_TIMEOUT_S,
        "read_timeout": REQUEST_TIMEOUT_S,
        "retry_total": 1,
    }
    if reference == "entra:instance":
        client_id = os.environ.get("AZURE_CLIENT_ID")
        return ManagedIdentityCredential(client_id=client_id, **options)
    if "AZURE_AUTHORITY_HOST" in os.environ:  # a private cloud, which Microsoft's does not know
        options["disable_instance_discovery"] = True
    if "AZURE_FEDERATED_TOKEN_FILE" in os.environ and "AZURE_CLIENT_SECRET" not in os.environ:
        return WorkloadIdentityCredential(**options)
    return EnvironmentCredential(**options)
