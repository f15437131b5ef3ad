"""kill -9 and SIGSTOP of Routers and of Budget: not a nanodollar is overspent, lost or doubled."""

import json
import subprocess
from pathlib import Path

import pytest
from effort import effort
from mesh import COMMAND, running_mesh
from money_kills import run_kills

KILLS = effort(6, ci=50, nightly=500)


@pytest.mark.timeout(120 + 30 * KILLS)
def test_whatever_is_killed_the_books_agree(tmp_path: Path) -> None:
    with running_mesh(tmp_path / "data", "--routers", "2") as mesh:
        figures = run_kills(mesh, KILLS, seed=6)
        print(figures)
        assert figures.attempts > 5 * KILLS
        assert (figures.overspend_nano, figures.lost, figures.doubled, figures.unlike) == (0,) * 4
        assert figures.denied > 0  # the limit was felt
    verify = [*COMMAND, "ledger", "verify", str(tmp_path / "data"), "--json"]
    proof = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert not json.loads(proof.stdout)["findings"]
