"""A process that is killed at any moment loses no row that was acknowledged to it."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harmost.services.journal.journal import Journal

KILLS = 6
WRITER = Path(__file__).with_name("writer.py")


def killed(directory: Path, mode: str, after_s: float) -> list[tuple[int, str]]:
    """Number and record id of what a writer was told is kept before it was killed."""
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(directory), mode], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()  # it has begun
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        out = first + writer.stdout.read()
    lines = out.decode().splitlines(keepends=True)
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(int(sequence), record_id) for sequence, record_id in whole]


@pytest.mark.parametrize("mode", ["flush", "sync"])
def test_acknowledged_rows_survive_repeated_kills(tmp_path: Path, mode: str, all_rows: Any) -> None:
    dice = random.Random(mode)
    told: list[tuple[int, str]] = []
    for _ in range(KILLS):
        told += killed(tmp_path, mode, dice.uniform(0, 0.15))
        kept = [row.record_id for row in all_rows(tmp_path)]
        for sequence, record_id in told:
            assert kept[sequence - 1] == record_id
    assert len(told) > KILLS


def test_a_killed_writers_slot_is_free_and_a_living_ones_is_not(tmp_path: Path) -> None:
    killed(tmp_path, "flush", 0)
    Journal(tmp_path, "r1").close()
