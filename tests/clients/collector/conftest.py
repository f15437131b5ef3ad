"""The OpenTelemetry Collector, built once from pinned sources with its own builder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools import TOOLS, skip_unless_built

HERE = Path(__file__).parent
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.165.0"
BUILD_S = 1_200.0  # on two busy cores; it takes some 150 on quiet ones


@pytest.fixture(scope="session")
def collector() -> Path:
    """The collector's program: OTLP in, OTLP out."""
    home = TOOLS / "collector"
    program, built = home / "otelcol-test", home / "manifest.yaml"
    skip_unless_built(program)
    manifest = (HERE / "manifest.yaml").read_bytes()
    if not program.exists() or not built.exists() or built.read_bytes() != manifest:
        home.mkdir(parents=True, exist_ok=True)
        _run("go", "install", BUILDER)
        sources = home / "sources"
        shutil.rmtree(sources, ignore_errors=True)
        written = home / "used.yaml"
        text = manifest.decode().replace("dist:\n", f"dist:\n  output_path: {sources}\n", 1)
        written.write_text(text)
        _run(str(home / "builder"), "--config", str(written))
        shutil.move(sources / "otelcol-test", program)
        built.write_bytes(manifest)
    return program


def _run(*command: str) -> None:
    home = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
        # Shared with the other Go tests, so that modules are fetched once.
        "GOPATH": str(TOOLS / "gopath"),
        "GOCACHE": str(TOOLS / "gocache"),
        "GOBIN": str(TOOLS / "collector"),
        "GOFLAGS": "-modcacherw",
    }
    done = subprocess.run(
        command, check=False, env=env, capture_output=True, text=True, timeout=BUILD_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
