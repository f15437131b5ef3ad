"""The Go clients of these tests, built once from pinned sources, and one running mesh for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from mesh import Mesh, running_mesh
from tools import TOOLS, skip_unless_built

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROTOS = ROOT / "protos"
PROGRAMS = TOOLS / "mesh"
BIN = Path(sys.executable).parent
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.120.0"  # its old grpc does not go with the others'
PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
)
# Shared with the other Go tests, so that modules are fetched once.
GO_ENV = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "GOPATH": str(TOOLS / "gopath"),
    "GOCACHE": str(TOOLS / "gocache"),
    "GOFLAGS": "-modcacherw -mod=readonly",
}


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Run a command of the set-up; it must succeed."""
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        cwd=cwd,
        env=env or GO_ENV,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def programs() -> Path:
    """A folder with `grpcurl` and `stream`, the latter from stubs that protoc makes of protos/."""
    skip_unless_built(PROGRAMS / "stream")
    go = HERE / "go"
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    run("go", "build", "-o", f"{PROGRAMS}/", GRPCURL, *PLUGINS, cwd=go)
    stubs = PROGRAMS / "src" / "harmost.dev" / "go"
    stubs.mkdir(parents=True, exist_ok=True)
    google = files("grpc_tools") / "_proto"
    run(
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{google}"),
        *(f"--plugin={PROGRAMS}/protoc-gen-go", f"--plugin={PROGRAMS}/protoc-gen-go-grpc"),
        *(f"--go_out={stubs}", "--go_opt=module=harmost.dev/go"),
        *(f"--go-grpc_out={stubs}", "--go-grpc_opt=module=harmost.dev/go"),
        *sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto")),
        cwd=ROOT,
    )
    (stubs / "go.mod").write_text("module harmost.dev/go\n\ngo 1.26\n")
    work = PROGRAMS / "src" / "go.work"
    work.write_text(f"go 1.26.0\n\nuse (\n\t{stubs}\n\t{go}\n)\n")
    # In a workspace the stubs need no published module; -mod=readonly does not apply to it.
    env = {**GO_ENV, "GOWORK": str(work), "GOFLAGS": "-modcacherw"}
    run("go", "build", "-o", PROGRAMS / "stream", ".", cwd=go, env=env)
    return PROGRAMS


@pytest.fixture(scope="session")
def ghz() -> Path:
    """The load generator ghz."""
    built = PROGRAMS / "ghz"
    skip_unless_built(built)
    if not built.exists():
        env = {**GO_ENV, "GOBIN": str(PROGRAMS), "GOFLAGS": "-modcacherw"}
        run("go", "install", GHZ, cwd=ROOT, env=env)
    return built


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh") / "data") as running:
        yield running
