"""Go's checksum database verifies our log, heads and receipts with code of its own, and only ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_log import signer
from tools import TOOLS, skip_unless_built

from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage

PROGRAM = TOOLS / "audit" / "audit"
GO_ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GOPATH": str(TOOLS / "gopath"),
    "GOCACHE": str(TOOLS / "gocache"),
    "GOFLAGS": "-modcacherw -mod=readonly",
}

pytestmark = pytest.mark.timeout(900)  # the first run fetches and builds it


@pytest.fixture(scope="module")
def program() -> Path:
    skip_unless_built(PROGRAM)
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", "build", "-o", str(PROGRAM), "."],
        check=False,
        cwd=Path(__file__).parent / "go",
        env=GO_ENV,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return PROGRAM


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a log of 777 entries, its head at 300, and receipts."""
    log = Sequencer(DirectoryStorage(tmp_path / "log"), [signer()])
    log.open(size=0, root=EMPTY_ROOT, waiting=[])
    total = 0
    for count in (1, 44, 255, 400, 77):
        head = log.publish(log.add([f"entry {total + n}".encode() for n in range(count)]))
        total += count
        if total == 300:
            (tmp_path / "old").write_bytes(head.note)
    for index in (0, 255, 256, 776):
        (tmp_path / f"{index}.tlog-proof").write_bytes(log.receipt(index))
    log.close()
    return tmp_path


def verified(program: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    receipts = [str(folder / f"{index}.tlog-proof") for index in (0, 255, 256, 776)]
    return subprocess.run(
        [str(program), str(folder / "log"), signer().vkey, str(folder / "old"), *receipts],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_log_its_growth_and_its_receipts_are_verified(program: Path, written: Path) -> None:
    done = verified(program, written)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "log 777",
        "grew from 300",
        "receipt 0 of 777",
        "receipt 255 of 777",
        "receipt 256 of 777",
        "receipt 776 of 777",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "log/checkpoint",
        "log/tile/0/001",
        "log/tile/1/000.p/3",
        "log/tile/entries/002",
        "old",
        "256.tlog-proof",
    ],
)
def test_an_altered_file_is_refused(path: str, program: Path, written: Path) -> None:
    file = written / path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert verified(program, written).returncode == 1
