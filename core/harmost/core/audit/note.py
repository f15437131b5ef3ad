"""Signed notes: text that ends in signature lines, and the keys that make and check them.

Two kinds of Ed25519 keys: a log's own, which signs the text, and a witness's, which signs the text and
the time at which it saw it. What the text says is not known here.

Source: C2SP signed-note v1.0.0; C2SP tlog-cosignature v1.0.1, "Ed25519 signed message".
"""

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from harmost.core.errors import InvalidInput

__all__ = [
    "NOTE_BYTES_MAX",
    "Note",
    "NoteRefused",
    "NoteSigner",
    "NoteVerifier",
    "Vouched",
    "WitnessSigner",
    "check_note",
    "parse_note",
    "read_signers",
    "read_verifiers",
]

NOTE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 64  # the specification asks for 16 at least
KEYS_MAX = 64  # of one file: a rotation leaves one more behind
KEY_NAME = re.compile(r"[^\s+\x00-\x20\x7f]{1,200}")
_LOG, _WITNESS = 0x01, 0x04
_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----", re.DOTALL)
_DASH = "\N{EM DASH} "


class NoteRefused(InvalidInput):
    """A note is malformed, or nobody who is known signed it."""


class Signature(NamedTuple):
    """One signature line: whose, and the bytes behind the key id."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """As it stands in a note, with its line end."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


class Note(NamedTuple):
    """A note taken apart: `text` ends in a line end; signatures are not checked."""

    text: str
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The whole note."""
        lines = "".join(signature.line for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()


class Vouched(NamedTuple):
    """A known key signed: its name, and the Unix second of a witness (0: the log itself)."""

    name: str
    time_s: int


def parse_note(data: bytes) -> Note:
    """The note in `data`. Raises NoteRefused where it is no note."""
    try:
        text = data.decode() if len(data) <= NOTE_BYTES_MAX else ""
    except UnicodeDecodeError:
        text = ""
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        text = ""
    body, gap, tail = text.rpartition("\n\n")
    lines = tail.split("\n")
    if not gap or len(lines) < 2 or lines.pop() or len(lines) > SIGNATURES_MAX:
        raise NoteRefused("it is no signed note: it was cut or altered, or is another file")
    return Note(body + "\n", tuple(map(_signature, lines)))


class NoteVerifier:
    """One public key, as text "name+id+key" (a vkey)."""

    def __init__(self, text: str) -> None:
        """InvalidInput where `text` is no vkey of an Ed25519 log or witness."""
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        key = _decoded(encoded)
        kind = key[0] if key else 0
        if (
            not KEY_NAME.fullmatch(name)
            or len(key) != 33
            or kind not in (_LOG, _WITNESS)
            or identity != _key_id(name, key).hex()
        ):
            raise InvalidInput(
                f"`{text.strip()[:100]}` is no public key of a log or witness: write it as "
                "`name+hash+key`, one line of `audit-verify.keys`"
            )
        self.text, self.name, self.key_id = text.strip(), name, _key_id(name, key)
        self.is_witness = kind == _WITNESS
        self._key = Ed25519PublicKey.from_public_bytes(key[1:])

    def check(self, text: str, signature: Signature) -> Vouched:
        """Raise NoteRefused unless `signature`, which is this key's, is of `text`. 120 us."""
        value, statement, time_s = signature.value, text.encode(), 0
        if self.is_witness:
            time_s, value = int.from_bytes(value[:8], "big"), value[8:]
            statement = _witnessed(time_s, text)
        try:
            self._key.verify(value, statement)
        except InvalidSignature:
            raise NoteRefused(
                f"the signature of `{self.name}` (key {self.key_id.hex()}) is not of this text: "
                "one of them was altered"
            ) from None
        return Vouched(self.name, time_s)


class NoteSigner:
    """Signs notes as the log `name`, with one private key."""

    _kind = _LOG

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not KEY_NAME.fullmatch(name):
            raise InvalidInput(
                f"`{name[:100]}` cannot name a log: write it like a URL without its scheme, "
                "such as `example.com/audit`"
            )
        public = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        encoded = bytes([self._kind]) + public
        self.name, self.key_id, self._key = name, _key_id(name, encoded), key
        self.vkey = f"{name}+{self.key_id.hex()}+{base64.b64encode(encoded).decode()}"

    @property
    def pem(self) -> bytes:
        """The private key: for the file that holds it, and nothing else."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, text: str) -> Signature:
        """The signature of `text`: always the same. 40 us."""
        return Signature(self.name, self.key_id, self._key.sign(text.encode()))


class WitnessSigner(NoteSigner):
    """Signs what it saw, and when."""

    _kind = _WITNESS

    def cosign(self, text: str, *, time_s: int) -> Signature:
        """That `text` was seen at `time_s`, in Unix seconds."""
        value = self._key.sign(_witnessed(time_s, text))
        return Signature(self.name, self.key_id, time_s.to_bytes(8, "big") + value)


def check_note(note: Note, verifiers: Iterable[NoteVerifier]) -> tuple[Vouched, ...]:
    """Which of `verifiers` signed `note`, in its order. Signatures of others are not looked at.

    Raises NoteRefused where one of them is false, or where no log that is known signed.
    """
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    found = [
        (verifier, verifier.check(note.text, signature))
        for signature in note.signatures
        if (verifier := known.get((signature.name, signature.key_id))) is not None
    ]
    if all(verifier.is_witness for verifier, _ in found):
        names = ", ".join(f"`{s.name[:100]}` ({s.key_id.hex()})" for s in note.signatures[:4])
        raise NoteRefused(f"none of the keys given signed it, but {names}: give the key of the log")
    return tuple(vouched for _, vouched in found)


def read_verifiers(text: str) -> list[NoteVerifier]:
    """The public keys in `text`, one a line; lines that begin with `#` are for people."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [NoteVerifier(line) for line in lines if line and not line.startswith("#")]
    if not 0 < len(keys) <= KEYS_MAX:
        raise InvalidInput(
            f"there are {len(keys)} public keys, not 1 to {KEYS_MAX}: give the log's file "
            "`audit-verify.keys`"
        )
    return keys


def read_signers(name: str, pem: bytes) -> list[NoteSigner]:
    """The private keys in `pem`, the one of now first, then those that a rotation has not ended."""
    signers = [NoteSigner(name, _private_key(found)) for found in _PEM.findall(pem)]
    if not 0 < len(signers) <= 4:
        raise InvalidInput(
            f"there are {len(signers)} audit signing keys, not 1 to 4: give a file with Ed25519 "
            "private keys in PEM, as `harmost up` and `harmost audit rotate-key` write it"
        )
    return signers


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    value = _decoded(encoded)
    if not line.startswith(_DASH) or not KEY_NAME.fullmatch(name) or len(value) < 5:
        raise NoteRefused("a signature line is malformed: the note was cut or altered")
    return Signature(name, value[:4], value[4:])


def _witnessed(time_s: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _key_id(name: str, key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + key).digest()[:4]


def _decoded(text: str) -> bytes:
    """The bytes that `text` stands for in base64, written in the one way that there is; else b""."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    # INVARIANT: spare bits are zero, or a flipped bit of a note could go unseen.
    return found if base64.b64encode(found).decode() == text else b""


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(
            "an audit signing key is no Ed25519 private key in PEM: put the right one back"
        )
    return key
