"""Seeded bugs: a copy of core with one of them in it, built, and the tests run on the copy."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


class Mutant(NamedTuple):
    """`before` stands in `file`, a path below core/, exactly once."""

    file: str
    before: str
    after: str


@contextmanager
def seeded(core: Path, mutant: Mutant) -> Iterator[None]:
    """`core`, a copy, with `mutant` in it; as it was afterwards."""
    source = core / mutant.file
    sound = source.read_text()
    assert sound.count(mutant.before) == 1, "the line to change is not there"
    module = source.with_name(source.stem + SUFFIX)
    kept = module.read_bytes() if source.suffix == ".pyx" else b""
    try:
        source.write_text(sound.replace(mutant.before, mutant.after))
        if kept:
            module.unlink()  # a new file: the old one may be mapped
            _build(core, source, module)
        yield
    finally:
        source.write_text(sound)
        if kept:
            module.unlink(missing_ok=True)
            module.write_bytes(kept)


def _build(core: Path, source: Path, module: Path) -> None:
    name = ".".join(source.relative_to(core).with_suffix("").parts)
    generated = source.with_suffix(".c")
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", name, "-I", core]
    for option in ("boundscheck=False", "wraparound=False", "cdivision=True"):
        cython += ["-X", option]
    gcc = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-I", sysconfig.get_path("include")]
    subprocess.run([*cython, "-o", generated, source], check=True, capture_output=True)
    subprocess.run([*gcc, generated, "-o", module], check=True, capture_output=True)


def run_tests(core: Path, tests: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """`tests` of this repository on the modules of `core`, up to the first that fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(core),
        "HARMOST_EFFORT": "default",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    here = (
        "import sys, harmost.core.policy.cel.vm as it; assert it.__file__.startswith(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", here, core], check=True, env=environment)
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*pytest, "--timeout", "300", *tests],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
