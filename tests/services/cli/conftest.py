"""The command line in this process, and one real mesh for the commands that need one."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harmost.services.cli import main

UP_S = 60


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as its one document."""
        return json.loads(self.out)


Harmost = Callable[..., Ran]


@pytest.fixture
def harmost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Harmost:
    """Run `harmost` with the given words, away from any mesh unless they name one."""
    for name in ("HARMOST_KEY", "HARMOST_KEY_FILE", "HARMOST_ADDRESS", "HARMOST_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARMOST_DATA_DIR", str(tmp_path / "none"))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["harmost", *words])
        capsys.readouterr()
        code = main()
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a mesh that runs, every service a process of its own."""
    data = tmp_path_factory.mktemp("mesh") / "data"
    words = ["up", "--port", "0", "--data", str(data), "--json"]
    log = data.parent / "up.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "harmost.services.cli", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()  # ends, too, when it fails to start
            assert ready, log.read_text()
            yield data
            process.send_signal(signal.SIGTERM)
            assert process.wait(UP_S) == 0, log.read_text()
        finally:
            process.kill()


@pytest.fixture
def at(harmost: Harmost, mesh: Path) -> Harmost:
    """`harmost` on the mesh."""

    def run(*words: str) -> Ran:
        return harmost(*words, "--data", str(mesh))

    return run
