"""Who is at the other end: the peer's address and TLS identity, under gRPC's names."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

__all__ = ["Identity", "identity_of", "peer_of"]

_PLAINTEXT = {
    "transport_security_type": [b"insecure"],
    "security_level": [b"TSI_SECURITY_NONE"],
}
_TLS = {
    "transport_security_type": [b"ssl"],
    "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
}
_COMMON_NAME = "x509_common_name"
_ALTERNATIVE_NAME = "x509_subject_alternative_name"


@dataclass(frozen=True, slots=True)
class Identity:
    """The properties of gRPC's AuthContext; `key` names the one that identifies the peer."""

    properties: Mapping[str, list[bytes]] = field(default_factory=lambda: dict(_PLAINTEXT))
    key: str | None = None


def peer_of(address: Any) -> str:
    """A socket address in gRPC's form; `unix:` for a local socket."""
    if isinstance(address, str) or not address:
        return f"unix:{address or ''}"
    host, port = str(address[0]), int(address[1])
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}" if ":" in host else f"ipv4:{host}:{port}"


def identity_of(tls: Any) -> Identity:
    """What the TLS handshake proved; nothing for plaintext."""
    if tls is None:
        return Identity()
    properties = dict(_TLS)
    der: bytes | None = tls.getpeercert(binary_form=True)
    if der is None:
        return Identity(properties)
    certificate: dict[str, Any] = tls.getpeercert() or {}
    common = [v for rdn in certificate.get("subject", ()) for k, v in rdn if k == "commonName"]
    names = [str(value).encode() for _, value in certificate.get("subjectAltName", ())]
    if common:
        properties[_COMMON_NAME] = [common[-1].encode()]
    properties["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(der).encode()]
    if names:
        properties[_ALTERNATIVE_NAME] = names
    key = _ALTERNATIVE_NAME if names else _COMMON_NAME if common else None
    return Identity(properties, key)
