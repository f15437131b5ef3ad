"""The examples of vendors: what scripts/model-catalog makes, and that every one of them runs."""

import importlib.util
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from harmost.core.budget.price_list import built_in
from harmost.core.policy.authoring.cases import is_case_file
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot

ROOT = Path(__file__).parents[3]
VENDORS = ROOT / "examples" / "vendors"
GOOGLE = "GOOGLE_APPLICATION_CREDENTIALS"  # names the file that `google:` reads
NAMES = sorted(path.parent.name for path in VENDORS.glob("*/vendor.yaml"))


def compiled(*folders: Path) -> CompiledSnapshot:
    every = (file for folder in folders for file in folder.rglob("*.yaml"))
    files = sorted(file for file in every if not is_case_file(file.name))
    return compile_snapshot(1, parse_sources([Source(str(f), f.read_bytes()) for f in files]))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("model_catalog", str(ROOT / "scripts" / "model-catalog"))
    spec = importlib.util.spec_from_loader("model_catalog", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def everything() -> CompiledSnapshot:
    return compiled(VENDORS)


def test_the_catalog_is_what_its_script_makes(script: ModuleType) -> None:
    made = dict(script.documents())
    assert sorted(made) == NAMES
    assert {name: (VENDORS / name / "models.yaml").read_text() for name in NAMES} == made


def test_the_catalog_has_sixty_models_with_a_price_and_more(everything: CompiledSnapshot) -> None:
    prices = everything.prices.at(1_795_000_000)
    assert len(prices) >= 60
    assert [name for name, price in prices.items() if price is None] == []
    assert {schedule.origin for schedule in everything.prices.schedules.values()} == {
        built_in().source
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_vendor_compiles_alone_with_one_profile_under_a_hard_budget(name: str) -> None:
    catalog = compiled(VENDORS / name).catalog
    assert list(catalog.profiles) == list(catalog.tenants) == list(catalog.providers) == [name]
    (budget,) = catalog.budgets.values()
    assert budget.metadata.tenant == name
    assert {limit.enforcement for limit in budget.spec.limits} == {"hard"}
    assert all(model.startswith(f"{name}/") for model in catalog.models)


@pytest.mark.parametrize("name", NAMES)
def test_each_vendor_is_started_as_its_file_and_the_readme_say(name: str) -> None:
    text = (VENDORS / name / "vendor.yaml").read_text()
    assert f"harmost up --data .harmost-{name} --examples examples/vendors/{name}\n" in text
    (provider,) = compiled(VENDORS / name).catalog.providers.values()
    said = provider.spec.credentials.removeprefix("env:").replace("google:", GOOGLE)
    assert re.search(rf"^#     {said}=… ", text, re.MULTILINE)
    assert f"| `{name}` | " in (ROOT / "examples" / "vendors" / "README.md").read_text()


def test_all_vendors_stand_beside_the_examples_of_the_sandbox() -> None:
    assert {*NAMES} < {*compiled(ROOT / "examples").catalog.providers}
