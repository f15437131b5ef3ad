"""One running mesh for the tests of a module; they must not depend on each other."""

from collections.abc import Iterator

import pytest
from mesh import Mesh, running_mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh") / "data") as running:
        yield running
