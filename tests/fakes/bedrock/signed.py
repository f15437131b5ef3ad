"""Who sent a request to AWS: a Bedrock key, or a signature that botocore computes again."""

import re
from datetime import UTC, datetime
from hashlib import sha256

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fakes.serve import Seen

__all__ = ["Denied", "check"]

SKEW_S_MAX = 300
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


class Denied(Exception):
    """The vendor's name of the exception, and its words."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


def check(seen: Seen, *, bearer: str, credentials: Credentials, region: str) -> None:
    """Denied unless `seen` bears the key, or is signed with `credentials` for `region`."""
    said = seen.headers.get("authorization", "")
    if not said:
        raise Denied("MissingAuthenticationTokenException", "Missing Authentication Token")
    if said.startswith("Bearer "):
        if said != f"Bearer {bearer}":
            words = "Authentication failed: Please make sure your API Key is valid."
            raise Denied("AccessDeniedException", words)
        return
    match = SIGNATURE.fullmatch(said)
    if match is None:
        raise Denied("IncompleteSignatureException", f"Authorization header is incomplete: {said}")
    key_id, day, at, service, names, signature = match.groups()
    token = seen.headers.get("x-amz-security-token")
    if key_id != credentials.access_key or token != credentials.token:
        words = "The security token included in the request is invalid."
        raise Denied("UnrecognizedClientException", words)
    time = seen.headers.get("x-amz-date", "")
    if (at, service, day) != (region, "bedrock", time[:8]):
        words = f"Credential should be scoped to a valid region and service: {region}, bedrock"
        raise Denied("InvalidSignatureException", words)
    _check_time(time)
    signed = names.split(";")
    needed = {name for name in seen.headers if name.startswith("x-amz-")} | {"host"}
    if signed != sorted(signed) or not needed <= set(signed):
        raise Denied("InvalidSignatureException", "Headers must be signed: " + ", ".join(needed))
    if _signature(seen, signed, credentials, time, region) != signature:
        words = "The request signature we calculated does not match the signature you provided."
        raise Denied("InvalidSignatureException", words)


def _check_time(time: str) -> None:
    try:
        sent = datetime.strptime(time, SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise Denied("IncompleteSignatureException", "Date must be in ISO-8601 'basic'") from None
    if abs((datetime.now(UTC) - sent).total_seconds()) > SKEW_S_MAX:
        raise Denied("InvalidSignatureException", f"Signature expired: {time} is now too far away")


def _signature(
    seen: Seen, signed: list[str], credentials: Credentials, time: str, region: str
) -> str:
    """The signature as botocore makes it, of what was received."""
    host = seen.headers.get("host", "")
    request = AWSRequest(
        method=seen.method,
        url=f"http://{host}{seen.raw_path}",
        headers={name: seen.headers.get(name, "") for name in signed},
        data=seen.body,
    )
    request.context["timestamp"] = time
    hashed = seen.headers.get("x-amz-content-sha256")
    if hashed is not None and hashed != sha256(seen.body).hexdigest():
        raise Denied("InvalidSignatureException", "The body is not the one that was signed.")
    signer = SigV4Auth(credentials, "bedrock", region)
    return str(
        signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    )
