"""Is any record lost or doubled whatever is killed?

A mesh of two Router workers under load; Routers and Telemetry are killed (-9) at random points. What the
provider's own books heard of is held against the records. On the back of an envelope: an exchange is in
the journal before a byte is sent, shipped at least once and stored by its id, so none and none.

`--kills N` (50).
"""

import argparse
import sys
import tempfile
from pathlib import Path

from _result import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from mesh import running_mesh
from record_kills import run_kills


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=8)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=".") as directory,
        running_mesh(Path(directory).resolve() / "data", "--routers", "2") as mesh,
    ):
        figures = run_kills(mesh, given.kills, seed=given.seed)
    for name in ("kills", "lost", "doubled", "unlike", "interrupted"):
        emit(f"telemetry.crash.{name}", getattr(figures, name), "", figures.exchanges)


if __name__ == "__main__":
    main()
