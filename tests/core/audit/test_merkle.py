"""Proofs are what RFC 6962 says, and nothing else passes for one."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import merkle_twin as twin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.audit.merkle import (
    EMPTY_ROOT,
    ProofRefused,
    check_consistency,
    check_inclusion,
    leaf_hash,
    root_of,
)

DATA = Path(os.environ.get("HARMOST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CASES = DATA / "conformance" / "merkle_rfc6962.jsonl"


def cases() -> list[dict[str, Any]]:
    if not CASES.exists():
        return []
    return [json.loads(line) for line in CASES.read_text().splitlines() if line.strip()]


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text) if text else b""


def holds(case: dict[str, Any]) -> bool:
    """Whether we take the case's proof."""
    proof = [decoded(each) for each in case["proof"] or []]
    try:
        if "leafHash" in case:
            check_inclusion(
                decoded(case["leafHash"]),
                index=case["leafIdx"],
                size=case["treeSize"],
                proof=proof,
                root=decoded(case["root"]),
            )
        else:
            check_consistency(
                case["size1"],
                case["size2"],
                proof=proof,
                root_1=decoded(case["root1"]),
                root_2=decoded(case["root2"]),
            )
    except ProofRefused:
        return False
    return True


def test_the_cases_are_there() -> None:
    if not CASES.exists():
        if os.environ.get("CI"):
            pytest.fail(f"no conformance cases at {CASES}: set HARMOST_DATA")
        pytest.skip(f"no conformance cases at {CASES}: set HARMOST_DATA")
    assert cases()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_conformance(case: dict[str, Any]) -> None:
    assert holds(case) is not case["wantErr"], case["desc"]


def entries(size: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(size)]


def test_roots_are_the_twins() -> None:
    assert root_of([]) == EMPTY_ROOT == twin.mth([])
    for size in range(1, 70):
        assert root_of(list(map(leaf_hash, entries(size)))) == twin.mth(entries(size)), size


def test_every_proof_of_small_trees_holds_and_of_no_other_leaf() -> None:
    for size in range(1, 18):
        whole = entries(size)
        root = twin.mth(whole)
        for index in range(size):
            proof = twin.path(index, whole)
            for other in range(size):
                case = {"index": index, "size": size, "proof": proof, "root": root}
                if other == index:
                    check_inclusion(leaf_hash(whole[other]), **case)
                else:
                    with pytest.raises(ProofRefused):
                        check_inclusion(leaf_hash(whole[other]), **case)


def test_every_consistency_proof_of_small_trees_holds() -> None:
    for size_2 in range(1, 18):
        for size_1 in range(1, size_2 + 1):
            check_consistency(
                size_1,
                size_2,
                proof=twin.proof(size_1, entries(size_2)),
                root_1=twin.mth(entries(size_1)),
                root_2=twin.mth(entries(size_2)),
            )


@given(st.integers(2, 40), st.data())
def test_a_proof_with_one_bit_flipped_does_not_hold(size: int, data: st.DataObject) -> None:
    whole = entries(size)
    index = data.draw(st.integers(0, size - 1))
    proof = twin.path(index, whole)
    place = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    number = int.from_bytes(proof[place], "big") ^ (1 << bit)
    proof[place] = number.to_bytes(32, "big")
    with pytest.raises(ProofRefused):
        check_inclusion(
            leaf_hash(whole[index]), index=index, size=size, proof=proof, root=twin.mth(whole)
        )


@pytest.mark.parametrize("change", ["longer", "shorter", "cut hash", "long hash"])
def test_a_proof_of_another_shape_does_not_hold(change: str) -> None:
    whole = entries(7)
    proof = twin.path(3, whole)
    consistency = twin.proof(3, whole)
    for steps in (proof, consistency):
        match change:
            case "longer":
                steps.append(bytes(32))
            case "shorter":
                steps.pop()
            case "cut hash":
                steps[0] = steps[0][:-1]
            case _:
                steps[0] += b"\x00"
    with pytest.raises(ProofRefused):
        check_inclusion(leaf_hash(whole[3]), index=3, size=7, proof=proof, root=twin.mth(whole))
    with pytest.raises(ProofRefused):
        check_consistency(
            3, 7, proof=consistency, root_1=twin.mth(whole[:3]), root_2=twin.mth(whole)
        )


def test_moving_a_byte_between_two_hashes_is_seen() -> None:
    # A node hashes both halves run together: only their length says where one ends.
    whole = entries(2)
    left, right = leaf_hash(whole[0]), leaf_hash(whole[1])
    with pytest.raises(ProofRefused, match="is not 32 bytes"):
        check_inclusion(left[:-1], index=0, size=2, proof=[left[-1:] + right], root=twin.mth(whole))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, 2**63)])
def test_a_leaf_that_no_tree_has_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofRefused, match="there is no leaf"):
        check_inclusion(bytes(32), index=index, size=size, proof=[], root=bytes(32))


def test_a_larger_tree_is_no_beginning_of_a_smaller() -> None:
    for size_1, size_2 in ((3, 2), (0, 2), (-1, 2)):
        with pytest.raises(ProofRefused, match="does not begin with"):
            check_consistency(size_1, size_2, proof=[bytes(32)], root_1=bytes(32), root_2=bytes(32))
