"""A log that was altered anywhere does not pass, and the first thing that is wrong is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from effort import effort
from small_log import files_of, verifiers, written_log

from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.leaf import pruning_entry
from harmost.core.audit.log_check import LogCheck, check_copies, check_log
from harmost.core.audit.merkle import leaf_hash
from harmost.core.audit.note import NoteRefused
from harmost.core.audit.tiles import CHECKPOINT_PATH, bundle_of

NAMED = tuple[str, int]


def checked(files: dict[str, bytes]) -> LogCheck:
    head, _ = open_checkpoint(files[CHECKPOINT_PATH], verifiers())
    check = check_log(files.get, head)
    check_copies(files.get, check, [path for path in files if path != CHECKPOINT_PATH])
    return check


def named(files: dict[str, bytes]) -> list[NAMED]:
    return [(finding.path, finding.leaf_index) for finding in checked(files).findings]


def entry(number: int) -> bytes:
    return f'{{"kind":"record","n":{number}}}'.encode()


def batches(*sizes: int) -> Iterator[list[bytes]]:
    start = 0
    for size in sizes:
        yield [entry(n) for n in range(start, start + size)]
        start += size


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Nine entries, four heads: every tile is partial."""
    return files_of(written_log(tmp_path_factory.mktemp("small"), batches(1, 3, 4, 1)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two whole tiles and a level above them."""
    return files_of(written_log(tmp_path_factory.mktemp("large"), batches(200, 100, 212, 3)))


def test_a_log_as_it_was_written_holds(small: dict[str, bytes], large: dict[str, bytes]) -> None:
    for files, size in ((small, 9), (large, 515)):
        check = checked(files)
        assert (check.found, check.entries, check.kinds) == (0, size, {"record": size})
    assert set(small) == {
        "checkpoint",
        *(f"tile/{kind}/000.p/{width}" for kind in ("0", "entries") for width in (1, 4, 8, 9)),
    }


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_flipped_byte_is_found_wherever_it_is(which: str, request: pytest.FixtureRequest) -> None:
    files: dict[str, bytes] = request.getfixturevalue(which)
    stride = 1 if which == "small" else effort(97, ci=7, nightly=1)
    tried = 0
    for path, data in files.items():
        for place in range(0, len(data), stride):
            harmed = bytearray(data)
            harmed[place] ^= 0x01 << (place % 8)
            tried += 1
            changed = {**files, path: bytes(harmed)}
            if path == CHECKPOINT_PATH:
                with pytest.raises(NoteRefused):
                    checked(changed)
            else:
                found = named(changed)
                assert found, (path, place)
                assert found[0][0] == path, (path, place, found)
    assert tried >= sum(map(len, files.values())) // stride


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_missing_cut_or_emptied_file_is_named(which: str, request: pytest.FixtureRequest) -> None:
    files: dict[str, bytes] = request.getfixturevalue(which)
    stale = {"tile/0/000.p/1", "tile/0/000.p/4", "tile/0/000.p/8", "tile/1/000.p/1"}
    stale |= {path.replace("/0/", "/entries/") for path in stale}
    for path in set(files) - {CHECKPOINT_PATH}:
        for left in (None, b"", files[path][:-1], files[path] + b"\x00"):
            changed = {**files, path: left} if left is not None else dict(files)
            if left is None:
                del changed[path]
                if path in stale:
                    continue  # of a smaller tree: it need not be there
            assert named(changed)[0][0] == path, (path, left)


def test_the_wrong_entry_is_named_and_all_others_are_proven(large: dict[str, bytes]) -> None:
    files = dict(large)
    whole = [entry(n) for n in range(256, 512)]
    whole[44] = entry(999)
    files["tile/entries/001"] = bundle_of(whole)
    check = checked(files)
    assert (check.found, check.entries) == (1, 514)
    assert check.findings[0].leaf_index == 300
    assert check.findings[0].message == "entry 300 in `tile/entries/001` is not what was signed"


def test_of_several_the_first_comes_first(large: dict[str, bytes]) -> None:
    files = dict(large)
    for path in ("tile/entries/001", "tile/0/000"):
        files[path] = bytes([files[path][0] ^ 1]) + files[path][1:]
    assert named(files)[0] == ("tile/0/000", 0)
    assert len(named(files)) == 2


def test_of_two_altered_edges_both_are_named(large: dict[str, bytes]) -> None:
    files = dict(large)
    for path in ("tile/1/000.p/2", "tile/0/002.p/3"):
        files[path] = bytes([files[path][0] ^ 1]) + files[path][1:]
    assert {("tile/1/000.p/2", 0), ("tile/0/002.p/3", 512)} < set(named(files))
    assert checked(files).entries == 515


def test_tiles_forged_with_their_entries_are_not_what_was_signed(small: dict[str, bytes]) -> None:
    forged = [entry(n) for n in range(8)] + [b"forged"]
    files = {
        **small,
        "tile/entries/000.p/9": bundle_of(forged),
        "tile/0/000.p/9": b"".join(map(leaf_hash, forged)),
    }
    assert named(files)[0] == ("checkpoint", -1)


def test_swapping_two_entries_is_found(small: dict[str, bytes]) -> None:
    entries = [entry(n) for n in range(9)]
    entries[2], entries[3] = entries[3], entries[2]
    files = {**small, "tile/entries/000.p/9": bundle_of(entries)}
    assert named(files)[0] == ("tile/entries/000.p/9", 2)


def test_a_log_of_nothing_holds(tmp_path: Path) -> None:
    files = files_of(written_log(tmp_path, []))
    assert set(files) == {CHECKPOINT_PATH}
    assert checked(files).found == 0


def test_a_stranger_in_the_folder_is_named(small: dict[str, bytes]) -> None:
    for path in ("tile/0/notes.txt", "tile/x/000", "tile/0/000.p/300", "tile/0/000.p/09"):
        assert named({**small, path: b"x"}) == [(path, -1)]


@pytest.mark.parametrize("path", ["tile/0/00²", "tile/²/000", "tile/0/000.p/²", "tile/३/000"])
def test_a_name_in_foreign_digits_is_a_stranger(path: str, small: dict[str, bytes]) -> None:
    assert named({**small, path: b"x"}) == [(path, -1)]


def test_what_was_written_behind_the_head_is_left_alone(small: dict[str, bytes]) -> None:
    assert named({**small, "tile/0/000.p/12": b"not signed yet", "tile/0/001": b"nor this"}) == []


def test_pruned_entries_are_missed_only_where_the_log_says_so(tmp_path: Path) -> None:
    told = [*batches(512), [pruning_entry(time_ns=1, minimum_index=256)]]
    files = files_of(written_log(tmp_path, told))
    del files["tile/entries/000"]
    check = checked(files)
    assert (check.found, check.minimum_index, check.entries) == (0, 256, 257)
    del files["tile/entries/001"]
    assert named(files) == [("tile/entries/001", 256)]


def test_an_entry_taken_away_without_a_word_is_found(large: dict[str, bytes]) -> None:
    files = dict(large)
    del files["tile/entries/000"]
    assert named(files) == [("tile/entries/000", 0)]
