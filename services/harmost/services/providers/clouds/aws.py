"""AWS's keys, from the places where its own tools look for them.

Source: AWS SDKs and Tools, "Standardized credential providers". Instance metadata is asked only where
the reference says so: without it, a host's role would be used that nobody meant to give.
"""

import math
from importlib import import_module
from typing import Any

from harmost.core.errors import NotPossibleNow
from harmost.services.providers.grants import Grant

from .failed import REQUEST_TIMEOUT_S, failed, missing, mute

__all__ = ["aws_keys"]

_INSTANCE = "iam-role"
_WEB_IDENTITY = "assume-role-with-web-identity"
_ADVICE = "set what the AWS tools read, as docs/credentials.md says"


def aws_keys(reference: str) -> Grant:
    """Key id, secret and session token that "aws:[profile/NAME|web-identity|instance]" leads to."""
    try:
        config: Any = import_module("botocore.config")
        chain: Any = import_module("botocore.credentials")
        errors: Any = import_module("botocore.exceptions")
        sessions: Any = import_module("botocore.session")
    except ImportError as error:
        raise missing(reference, "aws") from error
    mute("botocore", "urllib3")
    kind, _, profile = reference.removeprefix("aws:").partition("/")
    try:
        session = sessions.Session(profile=profile or None)
        session.set_default_client_config(
            config.Config(
                connect_timeout=REQUEST_TIMEOUT_S,
                read_timeout=REQUEST_TIMEOUT_S,
                retries={"total_max_attempts": 2},
            )
        )
        resolver = chain.create_credential_resolver(session, region_name=_region(session))
        for provider in list(resolver.providers):
            if not _is_meant(provider.METHOD, kind):
                resolver.remove(provider.METHOD)
        found = resolver.load_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise failed(reference, error, code=code, advice=_ADVICE) from None
    except (errors.BotoCoreError, OSError, ValueError) as error:
        raise failed(reference, error, advice=_ADVICE) from None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise NotPossibleNow(f"no credentials from `{reference}`: none are set up: {_ADVICE}")
    keys = (frozen.access_key, frozen.secret_key, frozen.token or "")
    return Grant(keys, _expires_s(found))


def _is_meant(method: str | None, kind: str) -> bool:
    if kind == "instance":
        return method == _INSTANCE
    if kind == "web-identity":
        return method == _WEB_IDENTITY
    return method != _INSTANCE


def _region(session: Any) -> str:
    # Any region's STS gives keys for all of them; without one the library refuses to ask.
    return str(session.get_config_variable("region") or "us-east-1")


def _expires_s(credentials: Any) -> float:
    # botocore renews by itself whoever asks it, and so shows no time; its twin test holds the name.
    expires = getattr(credentials, "_expiry_time", None)
    return float(expires.timestamp()) if expires is not None else math.inf
