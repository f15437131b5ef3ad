"""Grafana dashboards: made of their source, complete in every panel, and readable by Grafana's types."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from observability import RECORDED, unknown_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability" / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
COLUMNS = 24
register_default_plugins()


def read(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(path.read_text())
    return made


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def faults(dashboard: dict[str, Any]) -> list[str]:
    """What a panel lacks, or says wrong."""
    found: list[str] = []
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        where = f"{dashboard['title']}: {panel.get('title') or panel['id']}"
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        found += [f"{where} lies on another"] * bool(taken & cells)
        found += [f"{where} lies outside"] * (place["x"] + place["w"] > COLUMNS)
        cells |= taken
        found += [f"{where} has no title"] * (not panel.get("title"))
        if panel["type"] == "row":
            continue
        found += [f"{where} has no unit"] * (not panel["fieldConfig"]["defaults"].get("unit"))
        found += [f"{where} says not what it shows"] * (not panel.get("description"))
        found += [f"{where} asks nothing"] * (not panel["targets"])
        for target in (panel, *panel["targets"]):
            source = target.get("datasource", {}).get("uid")
            found += [f"{where} asks `{source}`"] * (source != "${datasource}")
        for target in panel["targets"]:
            used = {
                name
                for name in re.findall(r"\$\{?(\w+)", target["expr"])
                if not name.startswith("__")
            }
            found += [f"{where} uses no variable of it: {used - variables}"] * bool(
                used - variables
            )
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            if by:
                found += [f"{where} shows labels it has not: {shown - by}"] * bool(shown - by)
            elif shown and "sum(" in target["expr"]:
                found.append(f"{where} shows labels of a sum")
    ids = [panel["id"] for panel in dashboard["panels"]]
    found += ["two panels have one id"] * (len(set(ids)) != len(ids))
    return found


def lost(made: Any, back: Any, path: str = "") -> list[str]:
    """What Grafana's types did not keep of `made`."""
    if isinstance(made, dict):
        if not isinstance(back, dict):
            return [path]
        return [
            each
            for key, value in made.items()
            for each in (
                [f"{path}.{key}"] if key not in back else lost(value, back[key], f"{path}.{key}")
            )
        ]
    if isinstance(made, list):
        if not isinstance(back, list) or len(made) != len(back):
            return [path]
        pairs = enumerate(zip(made, back, strict=True))
        return [each for index, (a, b) in pairs for each in lost(a, b, f"{path}[{index}]")]
    return [] if made == back else [path]


def by_grafanas_types(dashboard: dict[str, Any]) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def test_they_are_made_of_their_source() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "dashboards", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_there_is_one_for_each_question() -> None:
    assert [path.stem for path in FILES] == ["decisions", "fleet", "profile", "providers", "spend"]
    uids = {read(path)["uid"] for path in FILES}
    assert uids == {f"harmost-{path.stem}" for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_has_a_title_a_unit_its_question_and_the_chosen_source(path: Path) -> None:
    assert faults(read(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafanas_own_types_keep_all_of_it(path: Path) -> None:
    made = read(path)
    assert lost(made, by_grafanas_types(made)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_name_is_one_that_telemetry_makes(path: Path) -> None:
    for panel in panels(read(path)):
        for target in panel["targets"]:
            assert unknown_names(target["expr"]) == set()
            assert set(re.findall(r"\bharmost:[\w:]+", target["expr"])) <= RECORDED


def test_the_checks_find_what_is_wrong() -> None:
    made = read(FILES[0])
    bad = copy.deepcopy(made)
    first = panels(bad)[0]
    first["fieldConfig"]["defaults"].pop("unit")
    first["datasource"]["uid"] = "prom"
    panels(bad)[1]["gridPos"] = dict(first["gridPos"])
    assert len(faults(bad)) == 3
    bad = copy.deepcopy(made)
    panels(bad)[0]["fieldConfg"] = {}
    assert lost(bad, by_grafanas_types(bad)) == [".panels[1].fieldConfg"]
