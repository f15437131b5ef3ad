"""The last good snapshot as a file, so that a service starts and goes on without Policy.

Its modification time says when Policy last confirmed it. Holds key hashes: for its owner only.
"""

import logging
import os
from pathlib import Path

from google.protobuf.message import DecodeError

from harmost.policy.v1 import policy_pb2

__all__ = ["SnapshotCache"]

log = logging.getLogger(__name__)


class SnapshotCache:
    """The file at `path`. Calls block on the disk; what fails is logged, never raised."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[policy_pb2.Snapshot, float] | None:
        """The snapshot and when it was confirmed last (Unix seconds); None if there is none."""
        try:
            content = self._path.read_bytes()
            confirmed_at_s = self._path.stat().st_mtime
            return policy_pb2.Snapshot.FromString(content), confirmed_at_s
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            log.warning("the cached snapshot %s is left out: %s", self._path, error)
            return None

    def save(self, snapshot: policy_pb2.Snapshot) -> None:
        """Replace the file as a whole: a crash leaves the old one or the new one."""
        draft = self._path.with_name(self._path.name + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(snapshot.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            log.warning("the snapshot cannot be cached in %s: %s", self._path, error)

    def confirm(self) -> None:
        """Note that what is cached is still what runs."""
        try:
            os.utime(self._path)
        except OSError as error:
            log.warning("the cached snapshot %s cannot be confirmed: %s", self._path, error)
