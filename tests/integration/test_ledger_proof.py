"""After kills under load the ledger, its journals and its running service still add up."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mesh import Mesh, eventually, running_mesh

from harmost.client import HarmostError

CALLERS, CALLS = 4, 12


def load(mesh: Mesh) -> list[threading.Thread]:
    """Callers that go on until each was answered CALLS times."""

    def call(number: int) -> None:
        answered = 0
        with mesh.client() as client:
            while answered < CALLS:
                try:
                    list(client.stream("hello", f"{number} {answered} [[sandbox output_tokens=9]]"))
                    answered += 1
                except HarmostError:  # killed; what it cost is settled from the books
                    time.sleep(0.1)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.timeout(180)
def test_a_ledger_whose_services_were_killed_adds_up(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_mesh(data) as mesh:
        threads = load(mesh)
        mesh.kill("router")
        mesh.kill("budget")
        for thread in threads:
            thread.join()
        mesh.quiet()
        running = eventually(
            lambda: json.loads(mesh.harmost("ledger", "verify", "--json").stdout), what="a proof"
        )
        report = json.loads(mesh.harmost("chargeback", "--month", this_month(), "--json").stdout)
    assert (running["adds_up"], running["findings"]) == (True, [])
    copied = mesh.harmost("ledger", "verify", str(data), "--json")
    told = json.loads(copied.stdout)
    assert (told["adds_up"], told["findings"], told["settlements_owed"]) == (True, [], 0)
    assert told["journals"] == 1
    assert told["settled_usd_nanos"] == sum(mesh.billed().values())
    assert told["settled_usd_nanos"] == report["total"]["usd_nanos"] > 0


def this_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")
