"""Recording rules and alerts: Prometheus takes them, each alert fires when it must, names exist."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from observability import CASES, FOLDER, RECORDED, RULES, rules, unknown_names
from prometheus import promtool

from harmost.core.otel.conventions import DURATION_S_BOUNDS
from harmost.services.journal.journal import JOURNAL_BYTES_MAX

ALERTS = [rule for rule in rules(FOLDER / "rules" / "alerts.yml") if "alert" in rule]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_prometheus_takes_the_rules(path: Path) -> None:
    ran = promtool("check", "rules", path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_the_configuration() -> None:
    ran = promtool("check", "config", FOLDER / "prometheus.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    named = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    assert {FOLDER / name for name in named} == set(RULES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_alerts_fire_when_they_must_and_else_do_not(path: Path) -> None:
    ran = promtool("test", "rules", path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_fires_in_a_test() -> None:
    cases = [case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]]
    asked = [one for case in cases for one in case.get("alert_rule_test", ())]
    # What is expected there came true: promtool said so above.
    fired = {one["alertname"] for one in asked if one["exp_alerts"]}
    assert fired == {alert["alert"] for alert in ALERTS}


def test_an_alert_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    for name in ("rules", "tests"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    path = tmp_path / "rules" / "alerts.yml"
    text = path.read_text()
    assert "expr: harmost_router_up == 0" in text
    path.write_text(text.replace("expr: harmost_router_up == 0", "expr: harmost_router_up == 2"))
    ran = promtool("test", "rules", tmp_path / "tests" / "machinery.test.yml")
    assert ran.returncode != 0
    assert "HarmostRouterDown" in ran.stdout + ran.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']}")
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert not alert["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_name_is_one_that_telemetry_makes(path: Path) -> None:
    for rule in rules(path):
        assert unknown_names(rule["expr"]) == set(), rule
        assert set(re.findall(r"\bharmost:[\w:]+", rule["expr"])) <= RECORDED, rule
    assert unknown_names("rate(harmost_cals_total[5m])") == {"harmost_cals_total"}


def test_the_goal_for_first_tokens_is_a_bound_of_the_histogram() -> None:
    text = (FOLDER / "rules" / "recording.yml").read_text()
    assert set(re.findall(r'le="([\d.]+)"', text)) == {"2.56"}
    assert "2.56" in {repr(bound) for bound in DURATION_S_BOUNDS}


def test_the_alert_on_journals_knows_how_much_one_holds() -> None:
    grows = next(alert for alert in ALERTS if alert["alert"] == "HarmostJournalGrows")
    assert f"> {JOURNAL_BYTES_MAX}\n" in grows["expr"]
