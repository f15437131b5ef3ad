"""A real Prometheus for tests: Debian's, on a free port, in a scratch folder."""

import json
import os
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mesh import eventually

__all__ = ["Prometheus", "program", "promtool", "running_prometheus"]


def program(name: str) -> str:
    """Where `name` is; skips without it, and fails in CI, whose set-up installs it."""
    found = shutil.which(name)
    if found is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"there is no {name}: apt-get install prometheus")
    return found


def promtool(*words: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """What promtool says."""
    return subprocess.run(
        [program("promtool"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Prometheus:
    """Asks a running one."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **query: str) -> Any:
        """`data` of an answer; AssertionError with what was wrong."""
        url = f"{self._base}/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that `expression` gives now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found


@contextmanager
def running_prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """Prometheus with `config` until the block ends; its log is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(config)
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={path}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            asked = Prometheus(port)
            eventually(lambda: asked.get("status/buildinfo"), what="Prometheus")
            yield asked
        finally:
            process.terminate()
            process.wait(20)
