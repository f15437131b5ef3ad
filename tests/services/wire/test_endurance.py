"""The fuzzer and the soak in their short forms, each in a process of its own.

HARMOST_FUZZ_S and HARMOST_SOAK_S say how long, in seconds; CI runs 30 s of fuzz, a nightly run 600.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CI = os.environ.get("CI") == "true"
FUZZ_S = os.environ.get("HARMOST_FUZZ_S", "30" if CI else "5")
SOAK_S = os.environ.get("HARMOST_SOAK_S", "10" if CI else "5")


@pytest.mark.timeout(float(FUZZ_S) + 60)
def test_fuzz_finds_nothing() -> None:
    program = [sys.executable, str(HERE / "wire_fuzz.py"), FUZZ_S]
    run = subprocess.run(program, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.timeout(float(SOAK_S) + 60)
def test_soak_is_flat_and_leaves_nothing() -> None:
    program = [sys.executable, str(HERE / "wire_soak.py"), SOAK_S]
    run = subprocess.run(program, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
