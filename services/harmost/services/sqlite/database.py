"""Opens a SQLite file that is ours, whole, at the right version and held by no other process.

Knows nothing of what is in it: each store brings its own application id and migrations.
"""

# pyright: reportUnknownMemberType=false
# (apsw's stubs name collections.abc.Buffer, which Python 3.11 does not have)

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import apsw

from harmost.core.errors import NotPossibleNow

__all__ = ["open_database"]

log = logging.getLogger(__name__)

# 3.53.0 mends the WAL-reset race that can lose a committed transaction.
SQLITE_VERSION_MIN = 3_053_000
# How long a restarted service waits for its predecessor's lock to go.
LOCK_TIMEOUT_MS = 250
# A log that once grew large is cut back to this when it is reset.
WAL_BYTES_KEPT = 64 * 1024 * 1024
NO_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({})


def open_database(
    path: Path,
    *,
    application_id: int,
    migrations: Sequence[str],
    synchronous: Literal["FULL", "NORMAL"],
    functions: Mapping[str, Callable[..., Any]] = NO_FUNCTIONS,
) -> apsw.Connection:
    """The database at `path`, made if absent, locked to this process until it is closed.

    `application_id` (1..2**31-1) marks the file as the caller's. `migrations[n]` is SQL that brings
    version n to n + 1; a file that needs any is first copied to `<name>.v<version>.bak` beside it.
    "FULL" syncs each commit to disk before it returns; "NORMAL" may lose the last commits on power
    loss, never on a crash of the process. SQL, that of migrations too, may call `functions` by name;
    the answer of each depends on its arguments alone.

    Raises NotPossibleNow, naming the file, when another process holds it, when it is foreign,
    newer, damaged or cannot be opened. O(size of the file): it is checked whole.
    """
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_VERSION_MIN:
        raise NotPossibleNow(
            f"SQLite {apsw.sqlite_lib_version()} may lose commits: install apsw 3.53 or later"
        )
    try:
        connection = _connect(path)
    except (OSError, apsw.Error) as error:
        _refuse(path, error)
    try:
        _lock(connection)
        _check(connection, path, application_id, len(migrations))
        _configure(connection, synchronous)
        for name, function in functions.items():
            connection.create_scalar_function(name, function, deterministic=True)
        _migrate(connection, path, application_id, migrations)
    except apsw.Error as error:
        connection.close()
        _refuse(path, error)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path) -> apsw.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made here so that no one else may read it: SQLite gives its side files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)


def _lock(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(LOCK_TIMEOUT_MS)
    connection.pragma("locking_mode", "EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE; COMMIT")  # takes the lock, which the mode then keeps


def _check(connection: apsw.Connection, path: Path, application_id: int, version_max: int) -> None:
    found_id = connection.pragma("application_id")
    version = connection.pragma("user_version")
    is_new = not version and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if found_id != application_id and not (is_new and found_id == 0):
        raise NotPossibleNow(f"`{path}` is another program's database: name another data directory")
    if version > version_max:
        raise NotPossibleNow(
            f"`{path}` has schema version {version} and this harmost knows {version_max}: "
            "run a newer harmost, or restore a backup"
        )
    problem = connection.execute("PRAGMA quick_check(1)").get
    if problem != "ok":
        raise NotPossibleNow(f"`{path}` is damaged: {problem}: restore a backup")


def _configure(connection: apsw.Connection, synchronous: Literal["FULL", "NORMAL"]) -> None:
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", synchronous)
    connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
    connection.pragma("foreign_keys", 1)


def _migrate(
    connection: apsw.Connection, path: Path, application_id: int, migrations: Sequence[str]
) -> None:
    version = connection.pragma("user_version")
    if version == len(migrations):
        return
    if version:
        _back_up(connection, path.with_name(f"{path.name}.v{version}.bak"))
    for number, sql in enumerate(migrations[version:], version + 1):
        with connection:  # INVARIANT: the schema and the version that names it change together.
            connection.execute(sql)
            connection.pragma("user_version", number)
            connection.pragma("application_id", application_id)
    log.info("migrated %s from schema version %d to %d", path, version, len(migrations))


def _back_up(connection: apsw.Connection, copy: Path) -> None:
    unfinished = copy.with_name(copy.name + ".part")
    unfinished.unlink(missing_ok=True)
    target = apsw.Connection(str(unfinished))
    try:
        with target.backup("main", connection, "main") as backup:
            backup.step(-1)
    finally:
        target.close()
    unfinished.replace(copy)


def _refuse(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        what = "is in use by another process: stop it, or name another data directory"
    elif isinstance(error, apsw.NotADBError):
        what = "is not a database: move it away, or restore a backup"
    elif isinstance(error, apsw.CorruptError):
        what = f"is damaged: {error}: restore a backup"
    else:
        what = f"cannot be opened: {error}: check its directory, permissions and disk space"
    raise NotPossibleNow(f"`{path}` {what}") from error
