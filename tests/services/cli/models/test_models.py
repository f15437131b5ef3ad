"""`harmost models` over documents; over a mesh it is read in test_mesh.py."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from harmost.core.budget.price_list import built_in

VENDORS = str(Path(__file__).parents[4] / "examples" / "vendors")
PROVIDER = """\
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: openai}
spec: {codec: openai, base_url: 'https://api.openai.com/v1', region: US}
"""


def model(name: str, spec: str) -> str:
    head = "---\napiVersion: harmost.dev/v1\nkind: Model\n"
    return f"{head}metadata: {{name: {name}}}\nspec: {{provider: openai, {spec}}}\n"


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Two good models, one that is misstated, one that is gone, one past its end."""
    file = tmp_path / "models.yaml"
    file.write_text(
        PROVIDER
        + model(
            "sol", "vendor_model_id: gpt-6-sol, context_tokens_max: 1050000, quality: {code: 9}"
        )
        + model("luna", "vendor_model_id: gpt-6-luna, region: EEA, quality: {code: 4}")
        + model("dear", 'vendor_model_id: gpt-4o, price: {input: "5", output: "10"}')
        + model("gone", "vendor_model_id: gpt-x, status: retired")
        + model("old", "vendor_model_id: o3, retires_on: 2020-01-01, replacement: sol"),
        encoding="utf-8",
    )
    return str(file)


def names(ran: Any) -> list[str]:
    return [one["name"] for one in ran.json]


def test_models_are_listed_in_order_with_those_that_end_told(harmost: Any, own: str) -> None:
    ran = harmost("models", "list", "-f", own)
    rows = [
        line.split()[0] for line in ran.out.splitlines() if line.startswith(" ") and line.split()
    ]
    assert [row for row in rows if row.isalpha()] == ["model", "dear", "gone", "luna", "old", "sol"]
    assert "warning: model `old` is retired since 2020-01-01: use `sol`" in ran.err
    assert "warning: model `gone` is retired: use another one" in ran.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["dear", "gone", "luna", "old", "sol"]),
        (("--region", "EEA"), ["luna"]),
        (("--status", "retired"), ["gone"]),
        (("--provider", "openai", "--max-price", "10"), ["dear", "luna", "old", "sol"]),
        (("--max-price", "9.999999"), ["luna", "old"]),
        (("--max-price", "0.5"), ["luna"]),
        (("--max-price", "0.499999999"), []),
    ],
)
def test_filters_leave_what_meets_all_of_them(
    harmost: Any, own: str, words: tuple[str, ...], expected: list[str]
) -> None:
    assert names(harmost("models", "list", "-f", own, "--json", *words)) == expected


def test_every_capability_that_is_asked_for_is_there(harmost: Any) -> None:
    words = ("--json", "--capability", "vision", "--capability", "reasoning")
    found = harmost("models", "list", "-f", VENDORS, *words).json
    every = harmost("models", "list", "-f", VENDORS, "--json").json
    assert found == [one for one in every if {"vision", "reasoning"} <= {*one["capabilities"]}]


def test_show_tells_what_is_known_and_nothing_else(harmost: Any, own: str) -> None:
    lines = {
        " ".join(line.split())
        for line in harmost("models", "show", "sol", "-f", own).out.splitlines()
    }
    assert {
        "context 1,050,000 tokens",
        "output price $10.00 a million tokens",
        "quality: code 9",
    } <= lines
    assert not any(line.startswith(("version", "certified", "retires")) for line in lines)


def test_compare_marks_what_differs_and_only_that(harmost: Any, own: str) -> None:
    ran = harmost("models", "compare", "sol", "luna", "-f", own)
    marked = {line.split("  ")[1].strip() for line in ran.out.splitlines() if line.startswith(" *")}
    assert marked == {
        "vendor's name",
        "region",
        "context",
        "input price",
        "output price",
        "quality: code",
    }
    differ = harmost("models", "compare", "sol", "luna", "-f", own, "--json").json["differences"]
    assert {"region", "quality", "context_tokens_max"} < {*differ}
    assert "output_tokens_max" not in differ


def test_a_plot_in_the_terminal_has_a_mark_for_each_model(harmost: Any, own: str) -> None:
    out = harmost("models", "plot", "-f", own, "--against", "quality:code").out
    grid = "".join(line.partition("|")[2] for line in out.splitlines() if "|" in line)
    assert sorted(grid.replace(" ", "")) == ["a", "b"]
    assert re.search(r"^a  luna  4  \$0\.50$", out, re.MULTILINE)
    assert re.search(r"^b  sol  9  \$10\.00$", out, re.MULTILINE)


def test_every_model_of_the_catalog_can_be_told_from_the_others_in_a_plot(harmost: Any) -> None:
    out = harmost("models", "plot", "-f", VENDORS, "--provider", "openai").out
    grid = "".join(line.partition("|")[2] for line in out.splitlines() if "|" in line)
    legend = re.findall(r"^(\w)  openai/", out, re.MULTILINE)
    assert sorted(grid.replace(" ", "")) == sorted(legend)


def test_a_plot_is_written_as_a_picture(harmost: Any, own: str, tmp_path: Path) -> None:
    for ending, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = tmp_path / f"plot.{ending}"
        assert harmost("models", "plot", "-f", own, "-o", str(path)).code == 0
        assert path.read_bytes().startswith(begins)


def test_without_matplotlib_a_picture_is_refused_and_the_terminal_still_draws(
    harmost: Any, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ran = harmost("models", "plot", "-f", own, "-o", str(tmp_path / "plot.png"))
    assert "a picture needs matplotlib: `pip install harmost[plot]`" in ran.err
    assert harmost("models", "plot", "-f", own).code == 0


def test_diff_tells_prices_contexts_and_models_that_are_gone_or_new(harmost: Any, own: str) -> None:
    ran = harmost("models", "diff", "-f", own, "--json")
    assert {
        "model": "dear",
        "what": "input",
        "document_usd_picos": 5_000_000,
        "list_usd_picos": 2_500_000,
    } in ran.json["prices"]
    told = {
        one["model"]: (one["document_tokens"], one["list_tokens"]) for one in ran.json["contexts"]
    }
    assert told == {"luna": (128_000, 1_050_000), "old": (128_000, 200_000)}
    assert ran.json["gone"] == [{"model": "gone", "why": "openai lists no `gpt-x`"}]
    assert "gpt-6.1-sol" in ran.json["new"]["openai"]
    assert not {"gpt-6-sol", "gpt-6-luna", "gpt-4o", "o3"} & {*ran.json["new"]["openai"]}
    assert set(ran.json["new"]["openai"]) < set(built_in().models("openai"))
    assert harmost("models", "diff", "-f", own, "--exit-code").code == 1


def test_the_starter_catalog_does_not_differ_from_the_list(harmost: Any) -> None:
    ran = harmost("models", "diff", "-f", VENDORS, "--exit-code")
    assert ran.code == 0, ran.out
    assert "0 other prices, 0 other contexts, 0 gone" in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("show", "gpt-6-sol"),
            "there is no model `gpt-6-sol`: there is `azure/gpt-6-sol`, `openai/gpt-6-sol`",
        ),
        (("show", "openai/gpt-6-soll"), "there is `openai/gpt-6-sol`"),
        (("compare", "openai/o3"), "there is nothing to compare: name two models or more"),
        (("compare", "openai/o3", "openai/o3"), "there is nothing to compare"),
        (("list", "--provider", "opnai"), "no model has provider `opnai`: there is `openai`"),
        (("list", "--capability", "tool"), "no model has capability `tool`: there is `tools`"),
        (("list", "--region", "Mars"), "no model has region `Mars`: there is `US`"),
        (("list", "--max-price", "cheap"), "`--max-price`: `cheap` is not a decimal number"),
        (
            ("plot", "--against", "speed"),
            "`--against` `speed` is not known: use context or quality:",
        ),
        (
            ("plot", "--against", "quality:code"),
            "no model with a price has `quality:code`: there is none",
        ),
        (("plot", "-o", "plot.bmp"), "`plot.bmp` is no picture: end it with .png or .svg"),
        (("list", "-f", "/nope"), "no file or directory at `/nope`"),
    ],
)
def test_who_types_a_wrong_thing_is_told_what_is_near(
    harmost: Any, words: tuple[str, ...], message: str
) -> None:
    ran = harmost("models", *words, "-f", VENDORS)
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert message in ran.err
