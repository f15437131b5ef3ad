"""`harmost audit verify` proves a copy with the public key alone, and names what is wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_log import signer, written_log
from typer.testing import CliRunner

from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.tiles import bundle_of
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage
from harmost.services.cli.app import app

KEY = signer().vkey


def entry(number: int) -> bytes:
    return f'{{"kind":"record","n":{number}}}'.encode()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    written_log(tmp_path / "log", [[entry(n)] for n in range(4)])
    return Path(shutil.copytree(tmp_path / "log", tmp_path / "copy"))


def verify(*words: object) -> Any:
    return CliRunner().invoke(app, ["audit", "verify", *map(str, words)])


def test_a_copy_is_proven_with_a_key_file_or_a_key(copy: Path) -> None:
    (copy.parent / "keys").write_text(f"# of auditors\n{KEY}\n")
    for key in (KEY, copy.parent / "keys"):
        done = verify(copy, "--key", key)
        assert done.exit_code == 0, done.output
        assert "4 of 4 entries proven (4 record), signed by example.com/audit" in done.output


def test_the_first_wrong_entry_is_named(copy: Path) -> None:
    (copy / "tile/entries/000.p/4").write_bytes(bundle_of([entry(0), entry(1), entry(9), entry(3)]))
    done = verify(copy, "--key", KEY, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["holds"], told["entries"]) == (False, 3)
    assert told["findings"][0]["leaf_index"] == 2
    assert "entry 2 in `tile/entries/000.p/4` is not what was signed" in (
        verify(copy, "--key", KEY).output
    )


def test_a_log_that_did_not_only_grow_is_found(copy: Path, tmp_path: Path) -> None:
    other = written_log(tmp_path / "other", [[b"else"], [b"more"]])
    for old in (copy, written_log(tmp_path / "short", [[entry(0)]])):
        assert verify(copy, "--key", KEY, "--since", old / "checkpoint").exit_code == 0
    done = verify(copy, "--key", KEY, "--since", other / "checkpoint")
    assert done.exit_code == 1
    assert "the first 2 entries are not those that" in done.output
    done = verify(other, "--key", KEY, "--since", copy / "checkpoint")
    assert "entries were taken away, or it is another log" in done.output


def test_a_log_written_anew_is_found_though_the_smaller_tree_was_taken_away(
    copy: Path, tmp_path: Path
) -> None:
    anew = written_log(tmp_path / "anew", [[b"else"], *([entry(n)] for n in range(1, 6))])
    for path in anew.glob("tile/*/000.p/4"):
        path.unlink()
    done = verify(anew, "--key", KEY, "--since", copy / "checkpoint")
    assert done.exit_code == 1
    assert "the first 4 entries are not those that" in done.output
    same = written_log(tmp_path / "same", [[entry(n)] for n in range(6)])
    for path in same.glob("tile/*/000.p/4"):
        path.unlink()
    assert verify(same, "--key", KEY, "--since", copy / "checkpoint").exit_code == 0


def test_growth_that_cannot_be_told_is_no_growth(copy: Path, tmp_path: Path) -> None:
    log = written_log(tmp_path / "log6", [[entry(n)] for n in range(6)])
    (log / "tile/0/000.p/6").unlink()
    done = verify(log, "--key", KEY, "--since", copy / "checkpoint")
    assert done.exit_code == 1
    assert "it cannot be told whether the log grew" in done.output


def test_a_receipt_is_proven_alone(tmp_path: Path) -> None:
    log = Sequencer(DirectoryStorage(tmp_path / "log"), [signer()])
    log.open(size=0, root=EMPTY_ROOT, waiting=[])
    log.publish(log.add([entry(0), entry(1)]))
    receipt = tmp_path / "r.tlog-proof"
    receipt.write_bytes(log.receipt(1))
    done = verify(receipt, "--key", KEY)
    assert done.exit_code == 0, done.output
    assert "entry 1 of 2 in example.com/audit" in done.output
    receipt.write_bytes(log.receipt(1).replace(b"index 1", b"index 0"))
    assert "does not lead to the root" in str(verify(receipt, "--key", KEY).exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "--key", KEY), "no log or receipt at `nowhere`"),
        (("COPY", "--key", "nokey"), "no public key at `nokey`"),
        (("COPY", "--key", "a+b"), "is no public key of a log or witness"),
        (("COPY", "--key", signer(2).vkey), "none of the keys given signed it"),
        (("COPY", "--key", KEY, "--witnesses", "1"), "0 of the witnesses given cosigned"),
        (("EMPTY", "--key", KEY), "no checkpoint at"),
    ],
)
def test_who_types_a_wrong_thing_is_told(
    words: tuple[str, ...], said: str, copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"COPY": str(copy), "EMPTY": str(tmp_path / "empty")}
    done = verify(*(places.get(word, word) for word in words))
    assert done.exit_code == 1
    assert said in str(done.exception)
