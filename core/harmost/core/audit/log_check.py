"""Proves a whole log against its signed head, tile by tile from the root down, entry by entry.

Each tile is held against a hash that stands in a tile proven before it, so the first thing that is wrong
is named, and not what rests on it. Does no I/O: files are asked of a reader.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from harmost.core.audit.checkpoint import Checkpoint
from harmost.core.audit.leaf import read_entry
from harmost.core.audit.merkle import ProofRefused, check_consistency, leaf_hash, root_of
from harmost.core.audit.tiles import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    Damaged,
    Tile,
    TileReader,
    consistency_proof,
    levels,
    read_bundle,
    read_tile,
    tree_root,
)
from harmost.core.errors import InvalidInput

__all__ = ["Finding", "LogCheck", "check_copies", "check_grown", "check_log"]

FINDINGS_MAX = 100


class Finding(NamedTuple):
    """Something wrong: the file, the entry (-1: the file as a whole), and what is wrong in words."""

    path: str
    leaf_index: int
    message: str


class LogCheck:
    """What a log of `head` came to. `entries` were proven; below `minimum_index` none is kept."""

    def __init__(self, head: Checkpoint) -> None:
        self.head = head
        self.entries = 0
        self.kinds: dict[str, int] = {}
        self.minimum_index = 0
        self.findings: list[Finding] = []
        self.found = 0

    def tell(self, path: str, leaf_index: int, message: str) -> None:
        """Note what is wrong; of very many things the first."""
        self.found += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(path, leaf_index, message))


def check_log(
    read: TileReader,
    head: Checkpoint,
    *,
    on_entries: Callable[[int], None] = lambda done: None,
) -> LogCheck:
    """Prove every tile and entry of the log whose signed head is `head`. 2 us an entry.

    `on_entries` hears how many entries were looked at.
    """
    check = LogCheck(head)
    missing: list[int] = []
    mended = _with_true_edge(read, check) if head.size else None
    for number, hashes in _proven(mended, check) if mended is not None else ():
        _check_bundle(read, check, number, hashes, missing)
        on_entries(min((number + 1) * TILE_WIDTH, head.size))
    for number in missing:
        if (number + 1) * TILE_WIDTH > check.minimum_index:
            tile = Tile(-1, number, min(TILE_WIDTH, head.size - number * TILE_WIDTH))
            check.tell(tile.path, number * TILE_WIDTH, f"`{tile.path}` is missing: restore it")
    check.findings.sort(key=lambda finding: (finding.leaf_index < 0, finding.leaf_index))
    return check


def check_copies(read: TileReader, check: LogCheck, paths: Iterable[str]) -> None:
    """Hold what else lies in the log's folder against what was proven: partial tiles of smaller trees.

    What is beyond the head, written and not yet signed when the folder was copied, is left alone.
    """
    widths = dict(levels(check.head.size))
    widths[-1] = check.head.size
    for path in sorted(paths):
        tile = _tile_at(path)
        if tile is None:
            check.tell(path, -1, f"`{path}` is no file of a log: remove it")
            continue
        whole = min(widths.get(tile.level, 0) - tile.number * TILE_WIDTH, TILE_WIDTH)
        if whole < 1 or tile.width >= whole:
            continue  # proven already, or not signed yet
        try:
            kind = read_bundle if tile.level < 0 else read_tile
            if kind(read, tile) == kind(read, tile._replace(width=whole))[: tile.width]:
                continue
            message = f"`{path}` is not the beginning of `{tile._replace(width=whole).path}`"
        except Damaged as error:
            message = error.message
        check.tell(path, tile.number * TILE_WIDTH if tile.level <= 0 else -1, message)


def check_grown(read: TileReader, check: LogCheck, before: Checkpoint, *, name: str) -> None:
    """Hold the log against `before`, an earlier head, which `name` names: that it has only grown since.

    Asks for tiles of the head that was proven and no others: those of the smaller tree may be gone.
    """
    head = check.head
    if before.origin != head.origin or before.size > head.size:
        message = (
            f"`{name}` is of `{before.origin}` with {before.size} entries, and the log is "
            f"`{head.origin}` with {head.size}: entries were taken away, or it is another log"
        )
    else:
        try:
            if before.size:
                proof = consistency_proof(read, size_1=before.size, size_2=head.size)
                check_consistency(
                    before.size, head.size, proof=proof, root_1=before.root, root_2=head.root
                )
            return
        except ProofRefused:
            message = f"the first {before.size} entries are not those that `{name}` signed"
        except Damaged as error:
            message = f"it cannot be told whether the log grew from `{name}`: {error.message}"
    check.tell(name, -1, message)


def _with_true_edge(read: TileReader, check: LogCheck) -> TileReader | None:
    """`read`, with those last tiles that are at fault as they should be, each of them told; None where
    it cannot be said which they are.

    The last tiles of all levels together give the signed root. Where they do not, what lies below them
    says what some of them should be: the fewest that lead to the root are those at fault.
    """
    head = check.head
    try:
        if tree_root(read, head.size) == head.root:
            return read
    except Damaged:
        pass  # a tile that is missing or cut is mended like one that was altered
    mended = {edge: _from_below(read, edge) for edge in _edges(head.size)}
    candidates = [edge for edge, hashes in mended.items() if hashes is not None]
    for count in range(1, len(candidates) + 1):
        for guilty in combinations(candidates, count):
            files = {edge.path: b"".join(mended[edge] or ()) for edge in guilty}
            if _root_is(head, _with(read, files)):
                for edge in guilty:
                    _tell_edge(read, check, edge, mended[edge] or [])
                return _with(read, files)
    try:
        tree_root(read, head.size)
    except Damaged as error:
        check.tell(error.message.split("`")[1], -1, error.message)
    else:
        check.tell(
            CHECKPOINT_PATH,
            -1,
            f"the tiles give another root than the one signed for {head.size} entries: they were "
            "altered together with what they stand for, or the checkpoint is of another log",
        )
    return None


def _root_is(head: Checkpoint, read: TileReader) -> bool:
    try:
        return tree_root(read, head.size) == head.root
    except Damaged:
        return False


def _tell_edge(read: TileReader, check: LogCheck, edge: Tile, hashes: list[bytes]) -> None:
    try:
        found = read_tile(read, edge)
    except Damaged as error:
        check.tell(edge.path, _first_leaf(edge), error.message)
        return
    place = next(place for place in range(edge.width) if found[place] != hashes[place])
    first = (edge.number * TILE_WIDTH + place) * TILE_WIDTH**edge.level
    check.tell(
        edge.path,
        first,
        f"`{edge.path}` is altered: its hash {place} is not that of what begins at entry {first}",
    )


def _proven(read: TileReader, check: LogCheck) -> Iterator[tuple[int, list[bytes]]]:
    """The hashes of each tile of level 0 that is what the tiles above it say, in order."""

    def below(tile: Tile, hashes: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
        if not tile.level:
            yield tile.number, hashes
            return
        for place, expected in enumerate(hashes):
            child = Tile(tile.level - 1, tile.number * TILE_WIDTH + place, TILE_WIDTH)
            try:
                found = read_tile(read, child)
            except Damaged as error:
                check.tell(child.path, _first_leaf(child), error.message)
                continue
            if root_of(found) != expected:
                check.tell(
                    child.path,
                    _first_leaf(child),
                    f"`{child.path}` is altered: it is not what `{tile.path}` says of it",
                )
                continue
            yield from below(child, found)

    # INVARIANT: the last tile of each level was proven by the root; those before it by the level above.
    for edge in reversed(list(_edges(check.head.size))):
        yield from below(edge, read_tile(read, edge))


def _check_bundle(
    read: TileReader, check: LogCheck, number: int, hashes: list[bytes], missing: list[int]
) -> None:
    tile = Tile(-1, number, len(hashes))
    if read(tile.path) is None and read(tile._replace(width=TILE_WIDTH).path) is None:
        missing.append(number)
        return
    try:
        entries = read_bundle(read, tile)
    except Damaged as error:
        check.tell(tile.path, number * TILE_WIDTH, error.message)
        return
    for place, (entry, expected) in enumerate(zip(entries, hashes, strict=True)):
        leaf_index = number * TILE_WIDTH + place
        if leaf_hash(entry) != expected:
            check.tell(
                tile.path, leaf_index, f"entry {leaf_index} in `{tile.path}` is not what was signed"
            )
            continue
        check.entries += 1
        _look_at(check, entry)


def _look_at(check: LogCheck, entry: bytes) -> None:
    try:
        said = read_entry(entry)
    except InvalidInput:
        said = {"kind": "unknown"}
    kind = said["kind"]
    check.kinds[kind] = check.kinds.get(kind, 0) + 1
    if kind == "pruning":
        check.minimum_index = max(check.minimum_index, int(said["minimum_index"]))


def _edges(size: int) -> Iterator[Tile]:
    """The last, partial tile of each level that has one."""
    for level, count in levels(size):
        number, width = divmod(count, TILE_WIDTH)
        if width:
            yield Tile(level, number, width)


def _from_below(read: TileReader, edge: Tile) -> list[bytes] | None:
    """What the hashes of `edge` should be by what lies below it; None: that is not there whole."""
    first = edge.number * TILE_WIDTH
    try:
        if not edge.level:
            bundle = read_bundle(read, Tile(-1, edge.number, edge.width))
            return [leaf_hash(entry) for entry in bundle]
        return [
            root_of(read_tile(read, Tile(edge.level - 1, first + place, TILE_WIDTH)))
            for place in range(edge.width)
        ]
    except Damaged:
        return None


def _with(read: TileReader, files: Mapping[str, bytes]) -> TileReader:
    return lambda path: files[path] if path in files else read(path)


def _first_leaf(tile: Tile) -> int:
    return int(tile.number * TILE_WIDTH ** (tile.level + 1))


def _tile_at(path: str) -> Tile | None:
    """The tile that is kept at `path`; None: no tile is."""
    parts = path.split("/")
    width = TILE_WIDTH
    if len(parts) > 3 and parts[-2].endswith(".p") and parts[-1].isdecimal():
        width = int(parts.pop())
        parts[-1] = parts[-1].removesuffix(".p")
    digits = "".join(part.removeprefix("x") for part in parts[2:])
    kind = parts[1] if len(parts) > 2 else ""
    if not digits.isdecimal() or not (kind.isdecimal() or kind == "entries"):
        return None
    tile = Tile(-1 if kind == "entries" else int(kind), int(digits), width)
    return tile if tile.path == path and 0 < width <= TILE_WIDTH else None
