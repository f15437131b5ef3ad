"""A receipt: proof, checked without asking anyone, that a log holds an entry.

It carries the entry itself, so that it and the log's public key are all that is needed.

Source: C2SP tlog-proof; the entry is its `extra` data.
"""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from harmost.core.audit.checkpoint import (
    Checkpoint,
    decimal,
    hash_line,
    open_checkpoint,
    proof_lines,
)
from harmost.core.audit.merkle import ProofRefused, check_inclusion, leaf_hash
from harmost.core.audit.note import NOTE_BYTES_MAX, NoteVerifier, Vouched
from harmost.core.audit.tiles import ENTRY_BYTES_MAX

__all__ = [
    "RECEIPT_BYTES_MAX",
    "Receipt",
    "Verified",
    "encode_receipt",
    "parse_receipt",
    "verify_receipt",
]

_TITLE = "c2sp.org/tlog-proof@v1"
_HASHES_MAX = 63
RECEIPT_BYTES_MAX = 2 * ENTRY_BYTES_MAX + NOTE_BYTES_MAX


class Receipt(NamedTuple):
    """`entry` is number `index` of the log whose head `checkpoint` (a note) is, by `proof`."""

    entry: bytes
    leaf_index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


class Verified(NamedTuple):
    """What a receipt that holds shows, and who vouches for it."""

    entry: bytes
    leaf_index: int
    head: Checkpoint
    vouched: tuple[Vouched, ...]


def encode_receipt(receipt: Receipt) -> bytes:
    """`receipt` as a tlog-proof."""
    extra = base64.b64encode(receipt.entry).decode()
    head = f"{_TITLE}\nextra {extra}\nindex {receipt.leaf_index}\n{proof_lines(receipt.proof)}\n"
    return head.encode() + receipt.checkpoint


def parse_receipt(data: bytes) -> Receipt:
    """The receipt in `data`, not yet checked. Raises ProofRefused where it is none."""
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n") if gap and len(data) <= RECEIPT_BYTES_MAX else []
    except UnicodeDecodeError:
        lines = []
    if len(lines) < 3 or lines[0] != _TITLE:
        raise ProofRefused(f"it is no receipt: one begins with `{_TITLE}`, and has an entry")
    entry = _entry(lines[1])
    index = decimal(lines[2].removeprefix("index ")) if lines[2].startswith("index ") else None
    proof = [hash_line(line) for line in lines[3:]]
    if entry is None or index is None or None in proof or len(proof) > _HASHES_MAX:
        raise ProofRefused("it is no whole receipt: it was cut or altered")
    return Receipt(entry, index, tuple(each for each in proof if each is not None), checkpoint)


def verify_receipt(data: bytes, verifiers: Sequence[NoteVerifier]) -> Verified:
    """What the receipt `data` shows to who trusts `verifiers`. Raises NoteRefused or ProofRefused."""
    receipt = parse_receipt(data)
    head, vouched = open_checkpoint(receipt.checkpoint, verifiers)
    check_inclusion(
        leaf_hash(receipt.entry),
        index=receipt.leaf_index,
        size=head.size,
        proof=receipt.proof,
        root=head.root,
    )
    return Verified(receipt.entry, receipt.leaf_index, head, vouched)


def _entry(line: str) -> bytes | None:
    encoded = line.removeprefix("extra ")
    try:
        found = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    is_canonical = line == f"extra {base64.b64encode(found).decode()}"
    return found if is_canonical and len(found) <= ENTRY_BYTES_MAX else None
