"""The log's one writer: what it writes holds, it never builds on harm, and it can be killed anywhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_log import ORIGIN, files_of, signer, verifiers, written_log

from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.log_check import check_copies, check_log
from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.receipt import verify_receipt
from harmost.core.audit.tiles import CHECKPOINT_PATH
from harmost.core.errors import NotPossibleNow, ServiceUnavailable
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage, LogStorage, ObjectStorage, open_storage

SUPPORT = Path(__file__).parents[2] / "support"


def entries(count: int, start: int = 0) -> list[bytes]:
    return [f"entry {n}".encode() for n in range(start, start + count)]


def opened(
    storage: LogStorage,
    *,
    size: int = 0,
    root: bytes = EMPTY_ROOT,
    waiting: list[bytes] | None = None,
) -> Sequencer:
    sequencer = Sequencer(storage, [signer()])
    sequencer.open(size=size, root=root, waiting=waiting or [])
    return sequencer


@pytest.mark.parametrize("kind", ["directory", "memory", "local"])
def test_a_log_grows_and_its_receipts_hold_wherever_it_is_kept(kind: str, tmp_path: Path) -> None:
    where = {
        "directory": str(tmp_path / "log"),
        "memory": f"memory://{tmp_path.name}/log",
        "local": f"file://{tmp_path}/log",
    }[kind]
    storage = open_storage(where)
    assert isinstance(storage, DirectoryStorage if kind == "directory" else ObjectStorage)
    sequencer = opened(storage)
    total = 0
    for count in (1, 2, 300, 1):
        sequencer.publish(sequencer.add(entries(count, total)))
        total += count
    for index in (0, 2, 255, 256, 303):
        verified = verify_receipt(sequencer.receipt(index), verifiers())
        assert verified.entry == entries(1, index)[0]
    sequencer.close()
    head = sequencer.published
    again = opened(open_storage(where), size=head.size, root=head.root)
    again.publish(again.add(entries(1, total)))
    again.close()
    checkpoint = storage.read(CHECKPOINT_PATH)
    assert checkpoint is not None
    check = check_log(storage.read, open_checkpoint(checkpoint, verifiers())[0])
    assert (check.found, check.entries) == (0, 305)
    if kind != "memory":
        check_copies(
            storage.read, check, [p for p in files_of(tmp_path / "log") if p != "checkpoint"]
        )
        assert check.found == 0
    assert storage.read("tile/0/000.p/1") is None  # whole by now


def test_the_first_head_is_of_nothing(tmp_path: Path) -> None:
    sequencer = opened(DirectoryStorage(tmp_path))
    head, _ = open_checkpoint(sequencer.published.note, verifiers())
    assert (head.size, head.root) == (0, EMPTY_ROOT)


def test_a_log_has_one_sequencer(tmp_path: Path) -> None:
    first = opened(DirectoryStorage(tmp_path))
    with pytest.raises(NotPossibleNow, match="a log has one sequencer: stop the other"):
        opened(DirectoryStorage(tmp_path))
    first.close()
    opened(DirectoryStorage(tmp_path)).close()


def test_a_store_without_locks_shows_a_second_sequencer_by_its_checkpoint(tmp_path: Path) -> None:
    where = f"memory://{tmp_path.name}/log"
    first, second = opened(open_storage(where)), opened(open_storage(where))
    second.publish(second.add([b"mine"]))
    with pytest.raises(NotPossibleNow, match="someone else wrote the checkpoint"):
        first.publish(first.add([b"mine too"]))


def test_one_that_died_before_anyone_knew_goes_on_where_it_was(tmp_path: Path) -> None:
    sequencer = opened(DirectoryStorage(tmp_path))
    before = sequencer.publish(sequencer.add(entries(3)))
    sequencer.publish(sequencer.add(entries(5, 3)))
    sequencer.close()
    again = Sequencer(DirectoryStorage(tmp_path), [signer()])
    assert again.open(size=before.size, root=before.root, waiting=entries(9, 3)) == 8


def test_tiles_written_and_not_published_are_written_again(tmp_path: Path) -> None:
    sequencer = opened(DirectoryStorage(tmp_path))
    before = sequencer.publish(sequencer.add(entries(3)))
    sequencer.add(entries(5, 3))  # and died
    sequencer.close()
    again = opened(DirectoryStorage(tmp_path), size=3, root=before.root, waiting=entries(6, 3))
    again.publish(again.add(entries(6, 3)))
    again.close()
    assert files_of(tmp_path)["tile/0/000.p/9"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("gone", "is gone: 300 entries were published"),
        ("rolled back", "lost entries: 300 were published and 3 are there"),
        ("other log", "is not what was published"),
        ("ahead", "has 302 entries and the store of records knows of 301"),
        ("other key", "is not signed by its signing key"),
        ("last tile gone", "is missing: restore it"),
        ("last tile cut", "was cut or altered"),
        ("last tile altered", "is not what was published"),
        ("last bundle cut", "does not hold 44 whole entries"),
        ("checkpoint cut", "it is no signed note"),
    ],
)
def test_a_log_that_is_not_what_it_was_is_not_taken_up(
    harm: str, said: str, tmp_path: Path
) -> None:
    sequencer = opened(DirectoryStorage(tmp_path / "log"))
    sequencer.publish(sequencer.add(entries(3)))
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    head = sequencer.publish(sequencer.add(entries(297, 3)))
    if harm == "ahead":
        sequencer.publish(sequencer.add(entries(2, 300)))
    sequencer.close()
    log, key, waiting = tmp_path / "log", signer(), entries(1, 300)
    tile, bundle = log / "tile/0/001.p/44", log / "tile/entries/001.p/44"
    match harm:
        case "gone":
            shutil.rmtree(log)
        case "rolled back":
            log = tmp_path / "old"
        case "other log":
            log = written_log(tmp_path / "other", [[b"x"] * 300])
        case "other key":
            key = signer(2)
        case "last tile gone":
            tile.unlink()
        case "last tile cut":
            tile.write_bytes(tile.read_bytes()[:-1])
        case "last tile altered":
            tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
        case "last bundle cut":
            bundle.write_bytes(bundle.read_bytes()[:-1])
        case "checkpoint cut":
            (log / "checkpoint").write_bytes((log / "checkpoint").read_bytes()[:-9])
    before = files_of(log)
    again = Sequencer(DirectoryStorage(log), [key])
    with pytest.raises(NotPossibleNow, match=said):
        again.open(size=head.size, root=head.root, waiting=waiting)
    assert files_of(log) == before
    again.close()


def test_a_rotation_signs_with_both_and_either_takes_the_log_up(tmp_path: Path) -> None:
    first = opened(DirectoryStorage(tmp_path))
    head = first.publish(first.add([b"a"]))
    first.close()
    both = Sequencer(DirectoryStorage(tmp_path), [signer(2), signer(1)])
    both.open(size=1, root=head.root, waiting=[])
    head = both.publish(both.add([b"b"]))
    both.close()
    for number in (1, 2):
        assert open_checkpoint(head.note, verifiers(number))[0].size == 2
    new = Sequencer(DirectoryStorage(tmp_path), [signer(2)])
    new.open(size=2, root=head.root, waiting=[])
    assert new.origin == ORIGIN


def test_a_full_disk_is_said_and_the_head_stays(tmp_path: Path) -> None:
    sequencer = opened(DirectoryStorage(tmp_path))
    head = sequencer.publish(sequencer.add([b"a"]))
    limited = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(SUPPORT)!r})\n"
        "from small_log import signer\n"
        "from harmost.core.errors import ServiceUnavailable\n"
        "from harmost.services.audit.sequencer import Sequencer\n"
        "from harmost.services.audit.storage import DirectoryStorage\n"
        "import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"log = Sequencer(DirectoryStorage(Path({str(tmp_path)!r})), [signer()])\n"
        f"log.open(size=1, root=bytes.fromhex({head.root.hex()!r}), waiting=[])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    log.add([b'x' * 5000])\n"
        "except ServiceUnavailable as error:\n"
        "    print(error.message)\n"
    )
    sequencer.close()
    done = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, timeout=60, check=True
    )
    assert "cannot be written: file too large" in done.stdout
    again = opened(DirectoryStorage(tmp_path), size=1, root=head.root)
    again.publish(again.add([b"x" * 5000]))


def test_a_log_that_cannot_be_written_says_which(tmp_path: Path) -> None:
    storage = DirectoryStorage(tmp_path / "log")
    sequencer = opened(storage)
    (tmp_path / "log" / "tile").write_bytes(b"in the way")
    with pytest.raises(ServiceUnavailable, match=r"the audit log `.*log` cannot be written"):
        sequencer.add([b"x"])


def test_killed_before_any_write_it_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """The caller keeps what waits until `publish` returned, as Telemetry's store does."""
    batch = entries(254, 3)
    base = opened(DirectoryStorage(tmp_path / "base"))
    head = base.publish(base.add(entries(3)))
    base.close()
    words = [str(tmp_path / "base"), str(tmp_path), "3", head.root.hex(), "254"]
    killed = subprocess.run(
        [sys.executable, str(SUPPORT / "dying_log.py"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    kills = int(killed.stdout)
    assert kills >= 6
    for log in (tmp_path / f"log-{writes}" for writes in range(kills + 1)):
        storage = DirectoryStorage(log)
        again = Sequencer(storage, [signer()])
        size = again.open(size=3, root=head.root, waiting=batch)
        assert size in (3, 257)
        if size == 3:
            again.publish(again.add(batch))
        check = check_log(storage.read, open_checkpoint(again.published.note, verifiers())[0])
        check_copies(storage.read, check, [p for p in files_of(log) if p != "checkpoint"])
        assert (check.found, check.entries) == (0, 257), log
        again.close()
