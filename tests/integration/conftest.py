"""One running mesh for the tests of a module; they must not depend on each other."""

from collections.abc import Iterator

import pytest
from mesh import Mesh, running_mesh


@pytest.fixture(scope="module")
def mesh(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Mesh]:
    """Parametrized indirectly: by the transport of its servers."""
    transport: str = getattr(request, "param", "wire")
    data = tmp_path_factory.mktemp(f"mesh-{transport}") / "data"
    with running_mesh(data, "--transport", transport) as running:
        running.transport = transport
        yield running
