"""Signs requests for AWS: what its servers compute again from what they receive. Pure; time comes in.

Source: AWS, "Signature Version 4 for API requests"; every service but S3, so a path is encoded twice.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["AwsKeys", "Signer"]

_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsKeys(NamedTuple):
    """Who signs. `session_token` is empty for keys that do not expire."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


class Signer:
    """Signs for one service in one region; keeps the signing key of the day, of one secret."""

    def __init__(self, *, region: str, service: str) -> None:
        self._region, self._service = region, service
        self._key_of: tuple[str, str] = ("", "")  # day, secret
        self._key = b""

    def headers(
        self,
        keys: AwsKeys,
        *,
        method: str,
        authority: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        now_s: float,
    ) -> dict[str, str]:
        """The headers that sign a request as it is sent at `now_s` (Unix time).

        `path` is what the request line says, with its query; `headers` in lower case: those that AWS
        wants signed are, so they must be sent as they are. O(body); allocates a few strings.
        """
        time = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        date = time[:8]
        signed = {name: value for name, value in headers.items() if _is_signed(name)}
        added = {"x-amz-date": time}
        if keys.session_token:
            added["x-amz-security-token"] = keys.session_token
        signed.update(added)
        signed["host"] = authority
        names = ";".join(sorted(signed))
        canonical = _canonical(method, path, signed, names, body)
        scope = f"{date}/{self._region}/{self._service}/aws4_request"
        hashed = sha256(canonical.encode()).hexdigest()
        statement = f"{_ALGORITHM}\n{time}\n{scope}\n{hashed}"
        signature = _hmac(self._signing_key(keys.secret_access_key, date), statement).hex()
        added["authorization"] = (
            f"{_ALGORITHM} Credential={keys.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return added

    def _signing_key(self, secret: str, date: str) -> bytes:
        if self._key_of != (date, secret):
            key = f"AWS4{secret}".encode()
            for part in (date, self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._key_of, self._key = (date, secret), key
        return self._key


def _is_signed(name: str) -> bool:
    return name == "content-type" or name.startswith("x-amz-")


def _canonical(method: str, path: str, headers: Mapping[str, str], names: str, body: bytes) -> str:
    path, _, query = path.partition("?")
    lines = [method, quote(_without_dots(path), safe="/~"), _sorted(query) if query else ""]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in names.split(";")]
    lines += ["", names, sha256(body).hexdigest()]
    return "\n".join(lines)


def _without_dots(path: str) -> str:
    """`path` without empty, `.` and `..` segments. RFC 3986, section 5.2.4."""
    if "//" not in path and "/." not in path:
        return path or "/"
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


def _sorted(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _hmac(key: bytes, words: str) -> bytes:
    return hmac.digest(key, words.encode(), "sha256")
