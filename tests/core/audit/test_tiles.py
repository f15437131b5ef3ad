"""A tree in tiles has the root and the proofs of the whole tree, however it grew."""

import random

import merkle_twin as twin
import pytest
from effort import effort

from harmost.core.audit.merkle import check_consistency, check_inclusion, leaf_hash
from harmost.core.audit.tiles import (
    ENTRY_BYTES_MAX,
    Damaged,
    Tile,
    bundle_entries,
    bundle_of,
    consistency_proof,
    grow,
    inclusion_proof,
    levels,
    read_bundle,
    read_tile,
    tree_root,
)
from harmost.core.errors import InvalidInput


def grown(sizes: list[int]) -> tuple[dict[str, bytes], list[bytes], list[bytes]]:
    """Files, entries, and the root after each batch of `sizes`."""
    files: dict[str, bytes] = {}
    entries: list[bytes] = []
    roots: list[bytes] = []
    for size in sizes:
        batch = [f"entry {len(entries) + n}".encode() for n in range(size)]
        result = grow(files.get, size=len(entries), entries=batch)
        files.update(result.files)
        entries += batch
        assert result.size == len(entries)
        roots.append(result.root)
    return files, entries, roots


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(1, 5, 17), "tile/1/005.p/17"),
        (Tile(-1, 1_234_067, 256), "tile/entries/x001/x234/067"),
        (Tile(0, 1_000, 1), "tile/0/x001/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path


def test_a_tree_of_70_000_has_the_tiles_that_the_specification_counts() -> None:
    assert list(levels(70_000)) == [(0, 70_000), (1, 273), (2, 1)]
    assert list(levels(256)) == [(0, 256), (1, 1)]
    assert list(levels(0)) == []


def test_roots_and_proofs_are_the_twins_however_the_tree_grew() -> None:
    seeds = effort(6, ci=60, nightly=600)
    for seed in range(seeds):
        rng = random.Random(seed)
        sizes = [rng.choice((1, 1, 2, 3, 31, 255, 256, 257, 600)) for _ in range(rng.randint(1, 6))]
        files, entries, roots = grown(sizes)
        size = len(entries)
        assert roots[-1] == twin.mth(entries), (seed, sizes)
        for _ in range(8):
            index, size_1 = rng.randrange(size), rng.randint(1, size)
            found = inclusion_proof(files.get, index=index, size=size)
            assert list(found) == twin.path(index, entries), (seed, sizes, index)
            check_inclusion(
                leaf_hash(entries[index]), index=index, size=size, proof=found, root=roots[-1]
            )
            consistent = consistency_proof(files.get, size_1=size_1, size_2=size)
            assert list(consistent) == twin.proof(size_1, entries), (seed, sizes, size_1)


def test_every_head_that_was_told_can_still_be_proven() -> None:
    sizes = [1, 2, 250, 3, 1, 255, 1, 400]
    files, _, roots = grown(sizes)
    size = 0
    for count, root in zip(sizes, roots, strict=True):
        size += count
        assert tree_root(files.get, size) == root
        proof = consistency_proof(files.get, size_1=size, size_2=sum(sizes))
        check_consistency(size, sum(sizes), proof=proof, root_1=root, root_2=roots[-1])


def test_a_tree_of_three_levels_gives_proofs() -> None:
    sizes = [65_536, 300]
    files, entries, roots = grown(sizes)
    size = sum(sizes)
    assert "tile/2/000.p/1" in files
    for index in (0, 255, 65_535, 65_536, size - 1):
        proof = inclusion_proof(files.get, index=index, size=size)
        check_inclusion(
            leaf_hash(entries[index]), index=index, size=size, proof=proof, root=roots[-1]
        )


def test_the_same_entries_give_the_same_files_again() -> None:
    files, entries, _ = grown([300])
    more = [b"a", b"b"]
    first = grow(files.get, size=300, entries=more)
    again = grow({**files, **dict(first.files)}.get, size=300, entries=more)
    assert first == again
    assert len(entries) == 300


def test_a_whole_tile_stands_in_for_its_partial_ones() -> None:
    files, entries, _ = grown([3, 253])
    del files["tile/0/000.p/3"], files["tile/entries/000.p/3"]
    assert read_tile(files.get, Tile(0, 0, 3)) == [leaf_hash(entry) for entry in entries[:3]]
    assert read_bundle(files.get, Tile(-1, 0, 3)) == entries[:3]


@pytest.mark.parametrize("kind", ["missing", "cut", "longer"])
def test_what_is_damaged_is_named_and_never_built_on(kind: str) -> None:
    for path in ("tile/0/000.p/5", "tile/entries/000.p/5"):
        files, _, _ = grown([5])
        if kind == "missing":
            del files[path]
        else:
            files[path] = files[path][:-1] if kind == "cut" else files[path] + b"\x00"
        with pytest.raises(Damaged, match=path.replace(".", r"\.")):
            grow(files.get, size=5, entries=[b"next"])


def test_a_bundle_holds_exactly_its_entries() -> None:
    entries = [b"", b"x", bytes(ENTRY_BYTES_MAX)]
    data = bundle_of(entries)
    assert bundle_entries(data, Tile(-1, 0, 3)) == entries
    for wrong in (data[:-1], data + b"\x00", data + bundle_of([b"more"]), b""):
        with pytest.raises(Damaged):
            bundle_entries(wrong, Tile(-1, 0, 3))
    with pytest.raises(InvalidInput, match="longer than 65535 bytes"):
        bundle_of([bytes(ENTRY_BYTES_MAX + 1)])


def test_a_proof_that_cannot_be_is_refused() -> None:
    files, _, _ = grown([5])
    with pytest.raises(InvalidInput, match="there is no leaf 5"):
        inclusion_proof(files.get, index=5, size=5)
    with pytest.raises(InvalidInput, match="does not begin with one of 0"):
        consistency_proof(files.get, size_1=0, size_2=5)
