"""Where an audit log is kept: a directory, or an object store through fsspec.

Knows paths and bytes, not what they mean. A write is whole or not at all; what `write` returned from
survives the death of the machine. Blocks.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

from harmost.core.errors import InvalidInput, NotPossibleNow, ServiceUnavailable

__all__ = ["DirectoryStorage", "LogStorage", "ObjectStorage", "open_storage"]

LOCK = ".lock"
FILE_BYTES_MAX = 256 * 65_537  # the largest bundle


class LogStorage(Protocol):
    """Files by path, relative to the log."""

    def read(self, path: str, /) -> bytes | None:
        """The bytes at `path`; None: there are none."""
        ...

    def write(self, files: Iterable[tuple[str, bytes]], /) -> None:
        """Keep all of `files`, whatever was there. Raises ServiceUnavailable; then some may be."""
        ...

    def remove(self, paths: Iterable[str], /) -> None:
        """See that nothing is at or below any of `paths`. What stays behind does no harm."""
        ...

    def hold(self) -> None:
        """Keep other writers out until `close`, as far as the store can. Raises NotPossibleNow."""
        ...

    def close(self) -> None:
        """Let other writers in."""
        ...


def open_storage(where: str) -> LogStorage:
    """The log at `where`: a directory, or a URL that fsspec knows, such as "s3://bucket/audit"."""
    if "://" in where:
        return ObjectStorage(where)
    return DirectoryStorage(Path(where))


class DirectoryStorage:
    """Files below `root`, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = -1

    def read(self, path: str, /) -> bytes | None:
        """See LogStorage."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(FILE_BYTES_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ServiceUnavailable(
                f"`{self.root / path}` cannot be read: {_cause(error)}: see to its permissions"
            ) from error

    def write(self, files: Iterable[tuple[str, bytes]], /) -> None:
        """See LogStorage. One sync for each file, and one for each directory."""
        changed: set[Path] = set()
        try:
            for path, data in files:
                target = self.root / path
                changed |= _made(target.parent)
                _write_whole(target, data)
                changed.add(target.parent)
            for directory in changed:
                _sync(directory)
        except OSError as error:
            hint = "free disk space" if error.errno == errno.ENOSPC else "see to its permissions"
            raise ServiceUnavailable(
                f"the audit log `{self.root}` cannot be written: {_cause(error)}: {hint}"
            ) from error

    def remove(self, paths: Iterable[str], /) -> None:
        """See LogStorage."""
        for path in paths:
            target = self.root / path
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)

    def hold(self) -> None:
        """See LogStorage."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise NotPossibleNow(
                f"another process writes the audit log `{self.root}`: a log has one sequencer: "
                "stop the other Telemetry service, or name another log with `--audit-log`"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """See LogStorage."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class ObjectStorage:
    """Objects below the fsspec URL `url`.

    Stores have no locks: `hold` keeps nobody out, and the sequencer sees by the checkpoint that
    someone else wrote.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise InvalidInput(
                f"`{url[:100]}` is an object store, and fsspec is not there: install "
                "`harmost[objects]` and the package of your store, or name a directory"
            ) from None
        try:
            found: tuple[Any, str] = cast(Any, fsspec.core).url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidInput(f"`{url[:100]}` cannot be opened: {error}") from None
        self._files, self._root = found

    def read(self, path: str, /) -> bytes | None:
        """See LogStorage."""
        try:
            found: Any = self._files.cat_file(f"{self._root}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # each store has errors of its own
            raise self._unavailable("read", error) from error
        return bytes(found)

    def write(self, files: Iterable[tuple[str, bytes]], /) -> None:
        """See LogStorage. One request for each file, in order."""
        try:
            for path, data in files:
                target = f"{self._root}/{path}"
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(target, data)
        except Exception as error:  # each store has errors of its own
            raise self._unavailable("written", error) from error

    def remove(self, paths: Iterable[str], /) -> None:
        """See LogStorage."""
        for path in paths:
            try:
                self._files.rm(f"{self._root}/{path}", recursive=True)
            except FileNotFoundError:
                continue
            except Exception as error:  # each store has errors of its own
                raise self._unavailable("cleaned", error) from error

    def hold(self) -> None:
        """See LogStorage."""

    def close(self) -> None:
        """See LogStorage."""

    def _unavailable(self, what: str, error: Exception) -> ServiceUnavailable:
        text = str(error)[:200] or type(error).__name__
        return ServiceUnavailable(
            f"the audit log's store cannot be {what}: {text}: see to its address and rights"
        )


def _made(directory: Path) -> set[Path]:
    """Make `directory` and all above it; the directories whose entries changed."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {each.parent for each in missing}


def _write_whole(target: Path, data: bytes) -> None:
    draft = target.with_name(target.name + ".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(draft, target)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
