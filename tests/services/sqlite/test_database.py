"""A database is opened only when it is ours, whole, known and free."""

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from harmost.core.errors import NotPossibleNow
from harmost.services.sqlite import open_database

APPLICATION_ID = 0x686D5401
MIGRATIONS = ("CREATE TABLE thing (name TEXT PRIMARY KEY)", "ALTER TABLE thing ADD COLUMN size INT")


def open_it(
    path: Path, migrations: tuple[str, ...] = MIGRATIONS, application_id: int = APPLICATION_ID
) -> apsw.Connection:
    return open_database(
        path, application_id=application_id, migrations=migrations, synchronous="FULL"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "things.sqlite3"


def test_new_file_is_migrated_configured_and_private(path: Path) -> None:
    database = open_it(path)
    assert database.pragma("user_version") == 2
    assert database.pragma("journal_mode") == "wal"
    assert database.pragma("synchronous") == 2
    assert path.stat().st_mode & 0o777 == 0o600
    database.close()


def test_content_survives_a_second_open(path: Path) -> None:
    with open_it(path) as database:
        database.execute("INSERT INTO thing VALUES ('one', 1)")
    database.close()
    again = open_it(path)
    assert again.execute("SELECT name, size FROM thing").fetchall() == [("one", 1)]
    again.close()


def test_second_process_is_refused_by_name(path: Path) -> None:
    database = open_it(path)
    other = (
        "import sys, pathlib\n"
        "from harmost.services.sqlite import open_database\n"
        "open_database(pathlib.Path(sys.argv[1]), application_id=1, migrations=(),"
        " synchronous='FULL')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", other, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"`{path}` is in use by another process" in done.stderr
    database.close()


def test_closed_file_is_free_again(path: Path) -> None:
    open_it(path).close()
    open_it(path).close()


def test_older_file_is_backed_up_then_migrated(path: Path) -> None:
    old = open_it(path, MIGRATIONS[:1])
    old.execute("INSERT INTO thing VALUES ('one')")
    old.close()
    new = open_it(path)
    assert new.execute("SELECT name, size FROM thing").fetchall() == [("one", None)]
    new.close()
    backup = open_it(path.with_name("things.sqlite3.v1.bak"), MIGRATIONS[:1])
    assert backup.execute("SELECT name FROM thing").get == "one"
    backup.close()


def test_failed_migration_changes_nothing(path: Path) -> None:
    open_it(path, MIGRATIONS[:1]).close()
    with pytest.raises(NotPossibleNow, match="cannot be opened"):
        open_it(path, (MIGRATIONS[0], "CREATE TABLE half (x); SELECT nonsense"))
    database = open_it(path, MIGRATIONS[:1])
    assert database.pragma("user_version") == 1
    assert not database.table_exists(None, "half")
    database.close()


def test_newer_file_is_refused(path: Path) -> None:
    open_it(path).close()
    with pytest.raises(NotPossibleNow, match="schema version 2 and this harmost knows 1"):
        open_it(path, MIGRATIONS[:1])


def test_foreign_file_is_refused(path: Path) -> None:
    open_it(path, application_id=7).close()
    with pytest.raises(NotPossibleNow, match="another program's database"):
        open_it(path)


def test_unmarked_file_with_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.sqlite3"
    plain = apsw.Connection(str(path))
    plain.execute("CREATE TABLE theirs (x)")
    plain.close()
    with pytest.raises(NotPossibleNow, match="another program's database"):
        open_it(path)


def test_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database at all\n" * 100)
    with pytest.raises(NotPossibleNow, match="is not a database"):
        open_it(path)


def test_damaged_file_is_refused(path: Path) -> None:
    database = open_it(path)
    with database:
        database.executemany(
            "INSERT INTO thing VALUES (?, 1)", [(f"{n:04}" * 200,) for n in range(500)]
        )
    database.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 40] = b"\xa5" * (4096 * 37)
    path.write_bytes(content)
    with pytest.raises(NotPossibleNow, match="is damaged"):
        open_it(path)


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotPossibleNow, match="cannot be opened"):
        open_it(tmp_path / "file" / "things.sqlite3")
