"""A Merkle tree as tiles: which files hold it, how it grows, and the proofs that they give.

A tile holds up to 256 hashes of one level in eight of the tree; an entry bundle the up to 256 entries
whose hashes a tile of level 0 holds. The last of each level may be partial. Does no I/O: tiles are
asked of a reader.

Source: C2SP tlog-tiles v0.1.0.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from harmost.core.audit.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash, root_of
from harmost.core.errors import InvalidInput

__all__ = [
    "CHECKPOINT_PATH",
    "ENTRY_BYTES_MAX",
    "TILE_WIDTH",
    "Damaged",
    "Grown",
    "Tile",
    "TileReader",
    "bundle_entries",
    "bundle_of",
    "consistency_proof",
    "grow",
    "inclusion_proof",
    "levels",
    "read_bundle",
    "read_tile",
    "tree_root",
]

CHECKPOINT_PATH = "checkpoint"
TILE_WIDTH = 256
ENTRY_BYTES_MAX = 65_535  # its length is written in two bytes
_HEIGHT = 8
_LENGTH = struct.Struct(">H")


class Damaged(InvalidInput):
    """A tile or bundle is not there or not what the tree holds; the message begins with its path."""


class Tile(NamedTuple):
    """A tile of `level`, the `number`th, with `width` hashes (1 to 256); level -1 is an entry bundle."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it is kept, relative to the log."""
        digits = f"{self.number:d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        place = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        level = "entries" if self.level < 0 else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{place}{partial}"


class TileReader(Protocol):
    """Gives the bytes at a path of the log; None: there are none."""

    def __call__(self, path: str, /) -> bytes | None:
        """The bytes at `path`."""
        ...


class Grown(NamedTuple):
    """What a tree that grew must write before anyone is told, and its new root."""

    size: int
    root: bytes
    files: tuple[tuple[str, bytes], ...]


def levels(size: int) -> Iterator[tuple[int, int]]:
    """Each level of tiles of a tree of `size` leaves, from 0 up, and how many hashes it has."""
    level, count = 0, size
    while count:
        yield level, count
        level, count = level + 1, count // TILE_WIDTH


def bundle_of(entries: Sequence[bytes]) -> bytes:
    """`entries` as a bundle. InvalidInput where one is longer than ENTRY_BYTES_MAX."""
    if max(map(len, entries), default=0) > ENTRY_BYTES_MAX:
        raise InvalidInput(f"an entry is longer than {ENTRY_BYTES_MAX} bytes: it cannot be kept")
    lengths = map(_LENGTH.pack, map(len, entries))
    return b"".join(chain.from_iterable(zip(lengths, entries, strict=True)))


def bundle_entries(data: bytes, tile: Tile) -> list[bytes]:
    """The entries in `data`, exactly `tile.width`. Raises Damaged."""
    found: list[bytes] = []
    offset = 0
    while offset + 2 <= len(data) and len(found) < tile.width:
        (length,) = _LENGTH.unpack_from(data, offset)
        entry = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
        if len(entry) == length:
            found.append(entry)
    if len(found) != tile.width or offset != len(data):
        raise Damaged(
            f"`{tile.path}` does not hold {tile.width} whole entries: it was cut or altered: "
            "restore it from a copy"
        )
    return found


def read_bundle(read: TileReader, tile: Tile) -> list[bytes]:
    """The entries of the bundle `tile`, from itself or from the whole one that has replaced it."""
    data, found = read(tile.path), tile
    if data is None:
        found = tile._replace(width=TILE_WIDTH)
        data = read(found.path)
    if data is None:
        raise Damaged(f"`{tile.path}` is missing: restore it from a copy")
    return bundle_entries(data, found)[: tile.width]


def read_tile(read: TileReader, tile: Tile) -> list[bytes]:
    """The hashes of `tile`, from itself or from the whole tile that has replaced it. Raises Damaged."""
    data = read(tile.path)
    if data is None and tile.width < TILE_WIDTH:
        whole = read(tile._replace(width=TILE_WIDTH).path)
        data = None if whole is None else whole[: tile.width * HASH_BYTES]
    if data is None:
        raise Damaged(f"`{tile.path}` is missing: restore it from a copy")
    if len(data) != tile.width * HASH_BYTES:
        raise Damaged(
            f"`{tile.path}` has {len(data)} bytes, not {tile.width * HASH_BYTES}: "
            "it was cut or altered: restore it from a copy"
        )
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def tree_root(read: TileReader, size: int) -> bytes:
    """The root of the first `size` leaves, out of the last tile of each level. Raises Damaged."""
    return _Tree(read, size).range_hash(0, size) if size else EMPTY_ROOT


def inclusion_proof(read: TileReader, *, index: int, size: int) -> tuple[bytes, ...]:
    """That leaf `index` is in the tree of `size`: RFC 6962, section 2.1.1. Reads O(log size) tiles."""
    if not 0 <= index < size:
        raise InvalidInput(f"there is no leaf {index} in a tree of {size}: ask for one below it")
    tree, proof = _Tree(read, size), list[bytes]()
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(tree.range_hash(middle, high))
            high = middle
        else:
            proof.append(tree.range_hash(low, middle))
            low = middle
    return tuple(reversed(proof))


def consistency_proof(read: TileReader, *, size_1: int, size_2: int) -> tuple[bytes, ...]:
    """That the tree of `size_2` begins with that of `size_1`: RFC 6962, section 2.1.2."""
    if not 0 < size_1 <= size_2:
        raise InvalidInput(f"a tree of {size_2} does not begin with one of {size_1}")
    tree, proof = _Tree(read, size_2), list[bytes]()
    low, high, whole = 0, size_2, True
    while size_1 != high:
        middle = low + _split(high - low)
        if size_1 <= middle:
            proof.append(tree.range_hash(middle, high))
            high = middle
        else:
            proof.append(tree.range_hash(low, middle))
            low, whole = middle, False
    if not whole:
        proof.append(tree.range_hash(low, high))
    return tuple(reversed(proof))


def grow(read: TileReader, *, size: int, entries: Sequence[bytes]) -> Grown:
    """The tree of `size` with `entries` behind it: every tile and bundle that is new or longer.

    Partial tiles are written for the new size only. Raises Damaged where the old ones cannot be
    read. 1.2 us a leaf and O(log size) tiles.
    """
    files: dict[str, bytes] = {}
    _grow_bundles(read, size, entries, files)
    new, before = [leaf_hash(entry) for entry in entries], size
    end = size + len(entries)
    for level, _ in levels(end):
        new, before = _grow_level(read, level, before, new, files), before // TILE_WIDTH

    def reader(path: str) -> bytes | None:
        return files[path] if path in files else read(path)

    return Grown(end, tree_root(reader, end), tuple(files.items()))


def _grow_bundles(
    read: TileReader, size: int, entries: Sequence[bytes], files: dict[str, bytes]
) -> None:
    index, width = divmod(size, TILE_WIDTH)
    data = bundle_of(read_bundle(read, Tile(-1, index, width))) if width and entries else b""
    start = 0
    while start < len(entries):
        more = entries[start : start + TILE_WIDTH - width]
        files[Tile(-1, index, width + len(more)).path] = data + bundle_of(more)
        start, index, width, data = start + len(more), index + 1, 0, b""


def _grow_level(
    read: TileReader, level: int, before: int, new: Sequence[bytes], files: dict[str, bytes]
) -> list[bytes]:
    """Put `new` behind the `before` hashes of `level`; the hashes of tiles that became whole."""
    if not new:
        return []
    index, width = divmod(before, TILE_WIDTH)
    row = (read_tile(read, Tile(level, index, width)) if width else []) + list(new)
    whole: list[bytes] = []
    for start in range(0, len(row), TILE_WIDTH):
        part = row[start : start + TILE_WIDTH]
        files[Tile(level, index + start // TILE_WIDTH, len(part)).path] = b"".join(part)
        if len(part) == TILE_WIDTH:
            whole.append(root_of(part))
    return whole


class _Tree:
    """Hashes of whole and broken ranges of a tree of `size` leaves; reads each tile once."""

    def __init__(self, read: TileReader, size: int) -> None:
        self._read = read
        self._counts = dict(levels(size))
        self._tiles: dict[Tile, list[bytes]] = {}

    def range_hash(self, low: int, high: int) -> bytes:
        """MTH(D[low:high]). `low` is a multiple of the largest power of two below the length."""
        length = high - low
        if length & (length - 1):
            middle = low + _split(length)
            return node_hash(self.range_hash(low, middle), self.range_hash(middle, high))
        return self._node(length.bit_length() - 1, low >> (length.bit_length() - 1))

    def _node(self, height: int, index: int) -> bytes:
        """The node over the leaves [index << height, (index + 1) << height)."""
        level, above = divmod(height, _HEIGHT)
        first = index << above
        number, start = divmod(first, TILE_WIDTH)
        return root_of(self._tile(level, number)[start : start + (1 << above)])

    def _tile(self, level: int, index: int) -> list[bytes]:
        width = min(self._counts[level] - index * TILE_WIDTH, TILE_WIDTH)
        tile = Tile(level, index, width)
        if tile not in self._tiles:
            self._tiles[tile] = read_tile(self._read, tile)
        return self._tiles[tile]


def _split(length: int) -> int:
    """The largest power of two below `length` (2 or more): where RFC 6962 parts a tree."""
    return 1 << ((length - 1).bit_length() - 1)
