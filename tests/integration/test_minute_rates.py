"""A limit of a minute through a running mesh of two workers: together they keep it, and say when."""

import time
from collections.abc import Iterator

import pytest
from mesh import Mesh, eventually, running_mesh
from rate_world import Use, keeps_the_rate

from harmost.client import RateLimited

A_MINUTE = 12
SLACK = 2  # calls: between what was admitted and that its end is noted here
DOCUMENTS = f"""\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/rated}}
spec: {{}}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {{name: rated, tenant: acme/rated}}
spec: {{limits: [{{window: minute, requests: {A_MINUTE}}}]}}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    data = tmp_path_factory.mktemp("rated") / "data"
    with running_mesh(data, "--routers", "2") as running:
        running.apply(DOCUMENTS, name="rated.yaml")
        yield running


def test_two_workers_keep_one_rate_and_tell_when_to_come_again(mesh: Mesh) -> None:
    eventually(lambda: any("rated" in key for key in mesh.budgets()), what="the budget")
    used: list[Use] = []
    waits_s: list[float] = []
    for _ in range(3 * A_MINUTE):
        with mesh.client() as client:  # a connection of its own: the kernel deals them out
            try:
                client.chat("hello", "hi [[sandbox output_tokens=2]]", tenant="acme/rated")
            except RateLimited as error:
                waits_s.append(error.retry_after_s or 0.0)
            else:
                used.append(Use(time.monotonic_ns(), 1))
    assert len(used) >= A_MINUTE
    assert keeps_the_rate(used, A_MINUTE, burst=A_MINUTE + SLACK)
    assert waits_s
    assert all(0 < wait_s <= 60 for wait_s in waits_s)
