"""A provider's URL, and one request to it as HTTP/1.1 bytes or HTTP/2 headers. Opens no socket."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from .engine import Header, secret_header

__all__ = ["Request", "Target"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_AUTHORITY = re.compile(r"[\x21-\x7e]+")
_PATH = re.compile(r"/[\x21-\x7e]*")
# What is between the two ends of a connection, and ours to say.
_HOP = frozenset(
    {
        *("connection", "content-length", "host", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a provider is. `authority` is as a request says it, `path` comes before its own."""

    host: str
    port: int
    tls: bool
    authority: str
    path: str

    @classmethod
    def of(cls, base_url: str) -> "Target":
        """Read `base_url`. Raises ValueError that says what is wrong with it."""
        url = urlsplit(base_url)  # raises ValueError too
        if url.scheme not in ("http", "https"):
            raise ValueError("not http or https")
        if not url.hostname or url.username is not None or url.query or url.fragment:
            raise ValueError("not `scheme://host[:port][/path]`")
        host = url.hostname if url.hostname.isascii() else url.hostname.encode("idna").decode()
        tls = url.scheme == "https"
        usual_port = 443 if tls else 80
        port = url.port or usual_port
        name = f"[{host}]" if ":" in host else host
        authority = name if port == usual_port else f"{name}:{port}"
        if _AUTHORITY.fullmatch(authority) is None:
            raise ValueError("no host name")
        return cls(host, port, tls, authority, url.path.rstrip("/"))


class Request(msgspec.Struct, frozen=True):
    """One request that can be sent; made by `of`."""

    method: str
    path: str
    target: Target
    fields: tuple[tuple[str, str], ...]
    secret_fields: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(
        cls,
        target: Target,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str],
        secret_headers: Mapping[str, str],
        body: bytes = b"",
    ) -> "Request":
        """Check everything once; headers in lower case. `path` is whole, with the target's before it.

        `secret_headers` stay out of tables, and replace what `headers` says under their names.
        Raises ValueError for what cannot be sent; it names no value.
        """
        if _PATH.fullmatch(path) is None:
            raise ValueError("a path that cannot be sent")
        return cls(
            method,
            path,
            target,
            tuple(field for field in _fields(headers) if field[0] not in secret_headers),
            tuple(_fields(secret_headers)),
            body,
        )

    def http1(self) -> bytes:
        """The head for HTTP/1.1."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {self.target.authority}"]
        lines += [f"{name}: {value}" for name, value in self.fields + self.secret_fields]
        if self.method != "GET":
            lines.append(f"content-length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def http2(self) -> tuple[Header, ...]:
        """The header list for HTTP/2."""
        target = self.target
        headers: list[Header] = [
            (b":method", self.method.encode()),
            (b":scheme", b"https" if target.tls else b"http"),
            (b":authority", target.authority.encode()),
            (b":path", self.path.encode()),
        ]
        for name, value in self.fields:
            headers.append((name.encode(), value.encode("latin-1")))
        for name, value in self.secret_fields:
            headers.append(secret_header(name.encode(), value.encode("latin-1")))
        if self.method != "GET":
            headers.append((b"content-length", b"%d" % len(self.body)))
        return tuple(headers)


def _fields(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise ValueError("a header that cannot be sent")
        if name not in _HOP:
            yield name, value.strip()
