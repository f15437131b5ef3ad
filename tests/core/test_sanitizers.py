"""The compiled modules under AddressSanitizer and UBSan: in CI, since it builds them anew."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1500)
@pytest.mark.skipif(not os.environ.get("CI"), reason="takes minutes: run `make asan`, or set CI=1")
def test_the_compiled_modules_are_clean_under_sanitizers() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "asan"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
