"""Does the money ceiling hold whatever is killed, and how soon are the books whole again?

A mesh of two Router workers under load on a budget that is nearly used up; Routers and Budget are
killed (-9) or paused at random points. On the back of an envelope: a Router is a Python process that
imports for a second and replays its journal in milliseconds; its suspense is freed by its first message.

`--kills N` (50). Times are wall time: what a caller waits.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from _result import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from mesh import running_mesh
from money_kills import run_kills


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=6)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=".") as directory,
        running_mesh(Path(directory).resolve() / "data", "--routers", "2") as mesh,
    ):
        figures = run_kills(mesh, given.kills, seed=given.seed)
    n = figures.attempts
    emit("budget.crash.kills", figures.kills, "", n)
    emit("budget.crash.overspend_nano", figures.overspend_nano, "nano-USD", n)
    emit("budget.crash.lost", figures.lost, "", n)
    emit("budget.crash.doubled", figures.doubled, "", n)
    emit("budget.crash.unlike", figures.unlike, "", n)
    for name, times in (("recovery_s", figures.recovery_s), ("suspense_s", figures.suspense_s)):
        emit(f"budget.crash.{name}", statistics.median(times), "s", len(times))
        emit(f"budget.crash.{name}.max", max(times), "s", len(times))


if __name__ == "__main__":
    main()
