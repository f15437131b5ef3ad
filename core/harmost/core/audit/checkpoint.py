"""The signed head of a log: its name, its size and the root of its tree, as a signed note.

Source: C2SP tlog-checkpoint v1.0.0.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harmost.core.audit.merkle import EMPTY_ROOT, HASH_BYTES, INDEX_MAX
from harmost.core.audit.note import (
    Note,
    NoteRefused,
    NoteSigner,
    NoteVerifier,
    Vouched,
    check_note,
    parse_note,
)

__all__ = [
    "Checkpoint",
    "decimal",
    "hash_line",
    "open_checkpoint",
    "parse_checkpoint",
    "proof_lines",
    "sign_head",
]


_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(NamedTuple):
    """A head: the log `origin` has `size` entries whose tree has `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_head(head: Checkpoint, signers: Sequence[NoteSigner]) -> Note:
    """`head` signed by each of `signers`."""
    return Note(head.text, tuple(signer.sign(head.text) for signer in signers))


def open_checkpoint(
    data: bytes, verifiers: Sequence[NoteVerifier]
) -> tuple[Checkpoint, tuple[Vouched, ...]]:
    """The head in the note `data` and who vouches for it. Raises NoteRefused.

    A log's key vouches only for the log of its own name.
    """
    note = parse_note(data)
    head = parse_checkpoint(note.text)
    known = [key for key in verifiers if key.is_witness or key.name == head.origin]
    return head, check_note(note, known)


def parse_checkpoint(text: str) -> Checkpoint:
    """The head in the text of a note, not yet checked. Raises NoteRefused."""
    origin, *lines = text.removesuffix("\n").split("\n")
    size = decimal(lines[0]) if len(lines) == 2 else None
    root = hash_line(lines[1]) if len(lines) == 2 else None
    if not origin or size is None or root is None:
        raise NoteRefused("it is no checkpoint: it was cut or altered, or is another note")
    if not size and root != EMPTY_ROOT:
        raise NoteRefused("its tree is empty, but its root is not that of an empty tree")
    return Checkpoint(origin, size, root)


def decimal(text: str) -> int | None:
    """The number written in `text`, as these formats write numbers; None: none is."""
    if not _DECIMAL.fullmatch(text):
        return None
    return int(text) if int(text) <= INDEX_MAX else None


def hash_line(text: str) -> bytes | None:
    """The hash written in `text` in base64; None: none is."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    # INVARIANT: there is one way to write a hash, or a flipped bit could go unseen.
    return found if len(found) == HASH_BYTES and base64.b64encode(found).decode() == text else None


def proof_lines(proof: Iterable[bytes]) -> str:
    """`proof` as lines of base64."""
    return "".join(f"{base64.b64encode(each).decode()}\n" for each in proof)
