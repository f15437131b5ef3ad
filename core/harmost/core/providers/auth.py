"""How credentials travel in a request to a provider: headers, or what AWS signs with. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["AUTHS", "AwsScope", "aws_scope", "key_headers"]

# Words of a document; no type of its field, as what stands there by mistake must not be quoted.
AUTHS = ("bearer", "api-key", "x-api-key", "x-goog-api-key", "aws-sigv4")

# AWS's own addresses name the service and the region: service[-fips].region.amazonaws.com.
_AWS_HOST = re.compile(
    r"(?:.+\.)?(?P<service>[a-z][a-z0-9-]*?)(?:-fips)?\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
    r"\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)
_AWS_SCOPE = re.compile(r"(?P<region>[a-z0-9-]{1,64})(?:/(?P<service>[a-z0-9-]{1,64}))?")
_SIGNING_NAMES = {"bedrock-runtime": "bedrock", "bedrock-mantle": "bedrock"}


class AwsScope(NamedTuple):
    """What a signature is good for."""

    region: str
    service: str = "bedrock"


def aws_scope(auth_scope: str, base_url: str) -> AwsScope:
    """`auth_scope` ("eu-west-1", "eu-west-1/bedrock"); where it is empty, what `base_url` names.

    Raises ValueError that says what to write.
    """
    found = _AWS_SCOPE.fullmatch(auth_scope or _host_scope(base_url))
    if found is None:
        raise ValueError("no region to sign for: write `auth_scope` like `eu-west-1/bedrock`")
    return AwsScope(found["region"], found["service"] or "bedrock")


def _host_scope(base_url: str) -> str:
    try:
        found = _AWS_HOST.fullmatch(urlsplit(base_url).hostname or "")
    except ValueError:  # it may quote the URL
        return ""
    if found is None:
        return ""
    return f"{found['region']}/{_SIGNING_NAMES.get(found['service'], found['service'])}"


def key_headers(auth: str, key: str) -> Mapping[str, str]:
    """The header that carries `key` in the way `auth` says; none when it is empty."""
    if not key:
        return {}
    return {"authorization": f"Bearer {key}"} if auth == "bearer" else {auth: key}
