"""The last good snapshot as files, so that a service starts and goes on without Policy.

    snapshot.binpb     the snapshot; its modification time says when Policy last confirmed it. Holds
                       key hashes: for its owner only
    revocations.binpb  what was stopped when Policy was last heard
    watched.binpb      how far this watcher had come: neither file may be older than that

Nothing is judged here: holder.py decides what of it may run.
"""

import logging
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from harmost.core.errors import InvalidInput
from harmost.policy.v1 import policy_pb2

__all__ = ["Cached", "SnapshotCache"]

log = logging.getLogger(__name__)

_Message = TypeVar("_Message", bound=Message)


class Cached(NamedTuple):
    """What the files hold; `confirmed_at_s` is in Unix seconds."""

    snapshot: policy_pb2.Snapshot
    confirmed_at_s: float
    revocations: policy_pb2.Revocations
    generation_min: int
    sequence_min: int


class SnapshotCache:
    """The files beside `path`, the snapshot's. Calls block on the disk; writes log what fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._revocations = path.with_name("revocations.binpb")
        self._watched = path.with_name("watched.binpb")

    def load(self) -> Cached | None:
        """All of it; None if there is no snapshot. InvalidInput, naming the file, if one is damaged."""
        snapshot = _read(self._path, policy_pb2.Snapshot)
        if snapshot is None:
            return None
        revocations = _read(self._revocations, policy_pb2.Revocations)
        if revocations is None:
            raise InvalidInput(f"there is no `{self._revocations}`: what is stopped is not known")
        watched = _read(self._watched, policy_pb2.WatchSnapshotRequest)
        return Cached(
            snapshot,
            self._path.stat().st_mtime,
            revocations,
            watched.generation if watched else 0,
            watched.revocations_sequence if watched else 0,
        )

    def save(self, snapshot: policy_pb2.Snapshot, *, sequence: int) -> None:
        """Replace the snapshot, then note that it was taken; `sequence` of the revocations in force."""
        self._write(self._path, snapshot)
        self._note(snapshot.generation, sequence)

    def save_revocations(self, revocations: policy_pb2.Revocations, *, generation: int) -> None:
        """Replace the revocations, then note that they are in force beside `generation`."""
        self._write(self._revocations, revocations)
        self._note(generation, revocations.sequence)

    def confirm(self) -> None:
        """Note that what is cached is still what runs."""
        try:
            os.utime(self._path)
        except OSError as error:
            log.warning("the cached snapshot %s cannot be confirmed: %s", self._path, error)

    def _note(self, generation: int, sequence: int) -> None:
        self._write(
            self._watched,
            policy_pb2.WatchSnapshotRequest(generation=generation, revocations_sequence=sequence),
        )

    def _write(self, path: Path, message: Message) -> None:
        """Replace the file as a whole: a crash leaves the old one or the new one."""
        draft = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(message.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            log.error("%s cannot be written: %s: free disk space", path, error)


def _read(path: Path, kind: type[_Message]) -> _Message | None:
    try:
        return kind.FromString(path.read_bytes())
    except FileNotFoundError:
        return None
    except DecodeError as error:
        raise InvalidInput(f"`{path}` is damaged or truncated: {error}") from None
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be read: {error}") from None
