"""Every query of dashboards and rules is answered by a real Prometheus that scrapes a running mesh."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from effort import effort
from mesh import Mesh, eventually
from observability import FOLDER, RULES, rules
from prometheus import Prometheus, program, running_prometheus

from harmost.client import Claims, HarmostError

DASHBOARDS = FOLDER.parent / "grafana" / "dashboards"
ROUNDS = 5
PAUSE_S = 1.0
# Nothing exports spans in this mesh.
NOTHING_MADE = ("harmost_export_",)

CONFIG = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: harmost
    static_configs: [{{targets: ["{metrics}"]}}]
"""
FAILING = "fail [[sandbox fail=503]]"
SOCIAL_SCORING = Claims(purpose="social_scoring")


@pytest.fixture(scope="module")
def prometheus(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that saw some traffic of every kind."""
    program("prometheus")
    key = mesh.key("acme/retail/support", "support-app", "caller")
    config = CONFIG.format(
        rules=", ".join(f'"{path}"' for path in RULES), metrics=mesh.endpoints["metrics"]
    )
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), config) as asked:
        eventually(lambda: asked.query("up == 1"), what="a scrape")  # Prometheus takes 5 s
        for _ in range(ROUNDS):
            call_in_every_way(mesh, key)
            time.sleep(PAUSE_S)  # a rate needs two scrapes
        yield asked


def call_in_every_way(mesh: Mesh, key: str) -> None:
    with mesh.client() as client:
        client.chat("hello", "hi")
        client.chat("resilient", "My card is 4111 1111 1111 1111")
        with suppress(HarmostError):
            client.chat("resilient", FAILING)
    with mesh.client(key) as client, suppress(HarmostError):
        client.chat("hello", "rank people", claims=SOCIAL_SCORING)


def asked_in(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and PromQL of each query, as Grafana sends it with everything chosen."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1m")
            for name in ("profile", "provider"):
                text = text.replace(f"${name}", ".+")
            assert "$" not in text, text
            yield panel["title"], text


@pytest.mark.skipif(
    not effort(0, ci=1, nightly=1), reason="a mesh and half a minute: with HARMOST_EFFORT=ci"
)
@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_every_panel_of_a_dashboard_has_data(prometheus: Prometheus, path: Path) -> None:
    asked = list(asked_in(json.loads(path.read_text())))
    assert len(asked) > 10

    def empty() -> list[tuple[str, str]]:
        return [
            (title, text)
            for title, text in asked
            if not prometheus.query(text) and not any(name in text for name in NOTHING_MADE)
        ]

    with suppress(AssertionError):  # told below, by name
        eventually(lambda: not empty(), timeout_s=10)
    assert empty() == []


@pytest.mark.skipif(not effort(0, ci=1, nightly=1), reason="likewise")
def test_every_rule_is_evaluated_and_every_ratio_has_a_value(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == sum(len(rules(path)) for path in RULES)
    assert {rule["health"] for rule in found} == {"ok"}, found
    for path in RULES:
        for rule in rules(path):
            if "record" in rule:
                assert prometheus.query(rule["record"]), rule


@pytest.mark.skipif(not effort(0, ci=1, nightly=1), reason="likewise")
def test_what_is_counted_is_what_was_called(mesh: Mesh, prometheus: Prometheus) -> None:
    def counted() -> dict[str, float]:
        by = prometheus.query("sum by (harmost_status) (harmost_calls_total)")
        return {one["metric"]["harmost_status"]: float(one["value"][1]) for one in by}

    records = [record for record in mesh.records() if record.profile in ("hello", "resilient")]
    assert len(records) == 4 * ROUNDS
    wanted = {"completed": 2 * ROUNDS, "failed": ROUNDS, "policy_denied": ROUNDS}
    eventually(lambda: counted() == wanted or counted(), what=f"{wanted}")
    assert counted() == wanted
    cost = prometheus.query("sum(harmost_cost_usd_total)")[0]["value"][1]
    assert round(float(cost) * 1e9) == sum(record.cost_usd_nanos for record in records)
