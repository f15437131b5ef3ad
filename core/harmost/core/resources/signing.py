"""Who vouches for a snapshot and for revocations: Ed25519 (RFC 8032) over a statement of both.

A statement is text of a fixed order of lines, so that nothing in it can be read in two ways: values
have no line ends. Keys come as PEM; where they are kept is not known here.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from harmost.core.errors import InvalidInput

__all__ = [
    "SOURCE_REVISION",
    "Signature",
    "Signer",
    "Verifier",
    "new_signing_key",
    "revocations_statement",
    "snapshot_statement",
]

SOURCE_REVISION = re.compile(r"[0-9A-Za-z.+_-]{0,100}")
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
KEYS_MAX = 64  # of one Verifier: a rotation needs two
_ID_CHARS = 16


class Signature(NamedTuple):
    """64 bytes, and the id of the key that made them; both empty: unsigned."""

    key_id: str
    value: bytes


def snapshot_statement(
    *,
    generation: int,
    documents: bytes,
    compiled_policy: bytes,
    source_revision: str,
    published_at_ns: int,
) -> bytes:
    """What a snapshot's signature is over. `documents` is their content_digest."""
    return _statement(
        "harmost snapshot v1",
        generation=str(generation),
        documents=documents.hex(),
        policy=hashlib.sha256(compiled_policy).hexdigest(),
        source=source_revision,
        published=str(published_at_ns),
    )


def revocations_statement(*, sequence: int, content: bytes) -> bytes:
    """What the signature of revocations is over. `content` is their digest."""
    return _statement("harmost revocations v1", sequence=str(sequence), content=content.hex())


class Signer:
    """Signs with one private key."""

    def __init__(self, pem: bytes) -> None:
        """InvalidInput where `pem` is no unencrypted Ed25519 private key (PKCS #8)."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInput(
                "the policy signing key is no Ed25519 private key in PEM: make one with "
                "`harmost policy rotate-key` or `openssl genpkey -algorithm ed25519`"
            )
        self._key = key
        self.key_id = _key_id(key.public_key())

    @property
    def public_pem(self) -> bytes:
        """What a Verifier needs."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, statement: bytes) -> Signature:
        """The signature of `statement`: always the same. 40 us."""
        return Signature(self.key_id, self._key.sign(statement))


class Verifier:
    """Knows the public keys that may sign."""

    def __init__(self, pems: Iterable[bytes]) -> None:
        """Each of `pems` may hold several keys. InvalidInput where there is none, or not Ed25519."""
        keys = [_public_key(found) for pem in pems for found in _PEM.findall(pem)]
        if not 0 < len(keys) <= KEYS_MAX:
            raise InvalidInput(
                f"there are {len(keys)} policy verify keys, not 1 to {KEYS_MAX}: give the file that "
                "holds the Policy service's public key, `policy-verify.pem`"
            )
        self._keys: Mapping[str, Ed25519PublicKey] = {_key_id(key): key for key in keys}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys that may sign."""
        return tuple(self._keys)

    def check(self, what: str, statement: bytes, signature: Signature) -> None:
        """Raise InvalidInput unless a known key made `signature` of `statement`. 130 us.

        `what` names it in the error, such as "generation `5`".
        """
        if not signature.value:
            raise InvalidInput(f"{what} is not signed: see that the Policy service has its key")
        key = self._keys.get(signature.key_id)
        if key is None:
            raise InvalidInput(
                f"{what} is signed by key `{signature.key_id[:_ID_CHARS]}`, which is not one of "
                f"{', '.join(self._keys)}: add it with `--policy-verify-key` if it is meant to"
            )
        try:
            key.verify(signature.value, statement)
        except InvalidSignature:
            raise InvalidInput(
                f"{what} is not what key `{signature.key_id}` signed: it was altered or damaged: "
                "remove it, the Policy service sends it anew"
            ) from None


def new_signing_key() -> bytes:
    """A fresh private key as PEM."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _statement(title: str, **lines: str) -> bytes:
    # INVARIANT: no value has a line end: numbers, hexadecimal digits, and SOURCE_REVISION.
    source = lines.get("source", "")
    if not SOURCE_REVISION.fullmatch(source):
        raise InvalidInput(
            f"`{source[:100]}` is no source revision: use letters, digits and `.+-_`"
        )
    return "".join([f"{title}\n", *(f"{name} {text}\n" for name, text in lines.items())]).encode()


def _public_key(pem: bytes) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("a policy verify key is no Ed25519 public key in PEM: replace it")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:_ID_CHARS]
