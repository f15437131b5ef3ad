"""The two build steps that pyproject.toml cannot say: protoc, then Cython."""

import os
import shutil
from importlib.resources import files
from pathlib import Path

from Cython.Build import cythonize
from grpc_tools import protoc
from setuptools import Extension, setup

PROTOS, CORE, STUBS = Path("protos"), Path("core"), Path("clients/python/gen")


def generate_stubs() -> None:
    """Write harmost/<service>/v1/*_pb2{,_grpc}.py{,i} under STUBS."""
    shutil.rmtree(STUBS, ignore_errors=True)  # a renamed proto leaves no stale stub
    STUBS.mkdir(parents=True)
    outs = [f"--{kind}_out={STUBS}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    google = files("grpc_tools") / "_proto"  # google/protobuf/*.proto
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{google}", *outs, *names]) != 0:
        raise SystemExit("protoc failed")


def extensions() -> list[Extension]:
    """Make core/harmost/core/x.pyx the extension module harmost.core.x."""
    annotate = "HARMOST_ANNOTATE" in os.environ
    sources = sorted(CORE.rglob("*.pyx"))
    names = [".".join(path.relative_to(CORE).with_suffix("").parts) for path in sources]
    return cythonize(
        [Extension(name, [str(path)]) for name, path in zip(names, sources, strict=True)],
        include_path=[str(CORE)],  # finds harmost/core/*.pxd: namespace roots have no __init__
        build_dir="build/cython",  # keeps .c and .html out of the source tree
        annotate=annotate,
        force=annotate,
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "warn.unused": True,
        },
    )


generate_stubs()  # before setup(): package discovery must see the stubs
setup(ext_modules=extensions())
