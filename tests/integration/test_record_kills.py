"""kill -9 of Routers and of Telemetry under load: every exchange has exactly one record."""

from pathlib import Path

import pytest
from effort import effort
from mesh import running_mesh
from record_kills import run_kills

KILLS = effort(1, ci=20, nightly=200)


@pytest.mark.skipif(
    not effort(0, ci=1, nightly=1), reason="a mesh and half a minute: with HARMOST_EFFORT=ci"
)
@pytest.mark.timeout(180 + 20 * KILLS)
def test_every_exchange_that_a_provider_heard_of_has_exactly_one_record(tmp_path: Path) -> None:
    with running_mesh(tmp_path / "data", "--routers", "2") as mesh:
        figures = run_kills(mesh, KILLS, seed=8)
        print(figures)
        assert figures.exchanges > 3 * KILLS
        assert (figures.lost, figures.doubled, figures.unlike) == (0, 0, 0)
