"""Merkle trees of RFC 6962: what a leaf and a node hash to, and whether a proof holds.

Knows neither what a leaf says nor where hashes are kept: tiles.py makes proofs, these verify them.

Source: RFC 6962, sections 2.1 to 2.1.2; how proofs are verified: RFC 9162, sections 2.1.3.2, 2.1.4.2.
"""

from collections.abc import Sequence
from hashlib import sha256

from harmost.core.errors import InvalidInput

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "INDEX_MAX",
    "ProofRefused",
    "check_consistency",
    "check_inclusion",
    "leaf_hash",
    "node_hash",
    "root_of",
]

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
INDEX_MAX = 2**63 - 1  # what a reader in another language counts with


class ProofRefused(InvalidInput):
    """A proof does not show what it claims."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf. 0.6 us for 600 bytes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node. 0.5 us."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves that hash to `hashes`: MTH of section 2.1. O(leaves)."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        # INVARIANT: an odd last node is itself the root of its subtree, so it moves up as it is.
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = paired + row[len(paired) * 2 :]
    return row[0]


def check_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofRefused unless `proof` shows that leaf `index` of the tree of `size` hashes to `leaf`."""
    if not 0 <= index < size <= INDEX_MAX:
        raise ProofRefused(f"there is no leaf {index} in a tree of {size}: see which log it is of")
    _check_hashes(leaf, root, *proof)
    low, last, found = index, size - 1, leaf
    for step in proof:
        if not last:
            raise _refused(f"leaf {index}", "is longer than the tree is high")
        if low & 1 or low == last:
            found = node_hash(step, found)
            while not low & 1 and low:
                low, last = low >> 1, last >> 1
        else:
            found = node_hash(found, step)
        low, last = low >> 1, last >> 1
    if last or found != root:
        raise _refused(f"leaf {index}", "does not lead to the root")


def check_consistency(
    size_1: int, size_2: int, *, proof: Sequence[bytes], root_1: bytes, root_2: bytes
) -> None:
    """Raise ProofRefused unless `proof` shows that the tree of `size_2` begins with that of `size_1`.

    Of the empty tree in a larger one there is no proof: every tree begins with it.
    """
    what = f"tree of {size_1} in {size_2}"
    if size_1 == size_2:
        if proof or root_1 != root_2:
            raise _refused(what, "is of two trees of one size")
        return
    if not 1 <= size_1 < size_2 <= INDEX_MAX:
        raise ProofRefused(
            f"a tree of {size_2} does not begin with one of {size_1}: see which log they are of"
        )
    _check_hashes(root_1, root_2, *proof)
    steps = list(proof)
    if not size_1 & (size_1 - 1):
        steps.insert(0, root_1)  # a full tree is a node of the larger one
    if not steps:
        raise _refused(what, "is empty")
    low, last = size_1 - 1, size_2 - 1
    while low & 1:
        low, last = low >> 1, last >> 1
    found_1 = found_2 = steps[0]
    for step in steps[1:]:
        if not last:
            raise _refused(what, "is longer than the tree is high")
        if low & 1 or low == last:
            found_1, found_2 = node_hash(step, found_1), node_hash(step, found_2)
            while not low & 1 and low:
                low, last = low >> 1, last >> 1
        else:
            found_2 = node_hash(found_2, step)
        low, last = low >> 1, last >> 1
    if last or found_1 != root_1 or found_2 != root_2:
        raise _refused(what, "does not lead to both roots")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofRefused(f"a hash is not {HASH_BYTES} bytes long: it was cut or altered")


def _refused(what: str, why: str) -> ProofRefused:
    return ProofRefused(f"the proof of {what} {why}: it was altered, or is of another log")
