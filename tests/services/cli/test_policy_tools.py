"""`harmost policy test`, `lint` and `explain`, on files and against a mesh."""

import json
import xml.etree.ElementTree as Xml
from pathlib import Path
from typing import Any

import pytest
from mesh import eventually

EXAMPLES = Path(__file__).parents[3] / "examples"
POLICY = """\
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: p}
spec:
  owner: ann
  rules:
    - {name: dead, when: 'purpose == "a" && purpose == "b"', deny: no, cites: [law]}
    - {name: live, when: 'purpose == "x"', deny: "no [red]", cites: [law]}
"""
TESTS = """\
apiVersion: harmost.dev/v1
kind: PolicyTest
spec:
  tests:
    - {name: good, facts: {purpose: x}, expect: {effect: deny, denied_by: p/live}}
    - {name: "bad \\e[31m", expect: {effect: deny}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "p.test.yaml").write_text(TESTS)
    return tmp_path


def test_the_examples_pass_and_are_covered_whole(harmost: Any) -> None:
    ran = harmost("policy", "test", "-f", str(EXAMPLES), "--coverage-min", "100")
    assert ran.code == 0, ran.out
    assert "11 tests, 0 failed" in ran.out
    assert "7 of 7 rules (100.0 %)" in ran.out


def test_the_examples_have_nothing_doubtful(harmost: Any) -> None:
    ran = harmost("policy", "lint", "-f", str(EXAMPLES))
    assert (ran.code, ran.out) == (0, "")


def test_a_test_that_fails_says_where_and_what_and_fails_the_command(
    harmost: Any, folder: Path
) -> None:
    ran = harmost("policy", "test", "-f", str(folder))
    assert ran.code == 1
    assert f"{folder}/p.test.yaml:6:7" in ran.out
    assert "effect: expected `deny`, found `allow`" in ran.out
    assert "2 tests, 1 failed" in ran.out
    assert "p/dead matched in no test" in ran.out


def test_coverage_below_the_minimum_fails_the_command(harmost: Any, folder: Path) -> None:
    (folder / "p.test.yaml").write_text(TESTS.rsplit("    - ", 1)[0])
    assert harmost("policy", "test", "-f", str(folder)).code == 0
    ran = harmost("policy", "test", "-f", str(folder), "--coverage-min", "60")
    assert ran.code == 1
    assert "coverage is below 60 %" in ran.err


def test_json_and_junit_are_for_machines(harmost: Any, folder: Path) -> None:
    junit = folder / "out.xml"
    ran = harmost("policy", "test", "-f", str(folder), "--json", "--junit", str(junit))
    assert ran.code == 1
    assert ran.json["failed"] == 1
    assert ran.json["rule_coverage_permille"] == 500
    assert [bool(each["problems"]) for each in ran.json["results"]] == [False, True]
    suite = Xml.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert len(suite.findall("testcase/failure")) == 1


def test_a_mistake_in_a_table_is_file_line_and_column(harmost: Any, folder: Path) -> None:
    (folder / "p.test.yaml").write_text(TESTS.replace("purpose: x", "purpos: x"))
    ran = harmost("policy", "test", "-f", str(folder))
    assert ran.code == 1
    assert f"{folder}/p.test.yaml:5:36: no request fact is called `purpos`" in ran.err


def test_without_tests_the_command_says_what_to_write(harmost: Any, tmp_path: Path) -> None:
    ran = harmost("policy", "test", "-f", str(tmp_path))
    assert ran.code == 1
    assert "named like `a.test.yaml`" in ran.err


def test_lint_tells_place_kind_and_rule_and_fails(harmost: Any, folder: Path) -> None:
    ran = harmost("policy", "lint", "-f", str(folder))
    assert ran.code == 1
    assert f"{folder}/p.yaml:7:26: error never-matches p/dead" in ran.out.replace("\n", "")
    found = harmost("policy", "lint", "-f", str(folder), "--json").json
    assert [(each["kind"], each["severity"]) for each in found["findings"]] == [
        ("never-matches", "error")
    ]


def test_lint_of_what_does_not_compile_tells_the_problem_at_its_place(
    harmost: Any, folder: Path
) -> None:
    (folder / "p.yaml").write_text(POLICY.replace('purpose == "x"', 'purpos == "x"'))
    ran = harmost("policy", "lint", "-f", str(folder))
    assert ran.code == 1
    assert f"{folder}/p.yaml:8:27: rule `live`: `purpos` is not known" in ran.err


def test_a_document_cannot_drive_the_terminal(harmost: Any, folder: Path) -> None:
    bad = POLICY.replace("{name: live", '{name: "live\\e[31m"').replace('== "x"', "== 1")
    (folder / "p.yaml").write_text(bad)
    ran = harmost("policy", "lint", "-f", str(folder))
    assert ran.code == 1
    assert "\x1b" not in ran.err
    assert "live\N{REPLACEMENT CHARACTER}[31m" in ran.err


def test_explain_of_files_names_what_decided_and_what_would_turn_it(
    harmost: Any, folder: Path
) -> None:
    ran = harmost("policy", "explain", "-f", str(folder), "--fact", "purpose=y")
    assert ran.code == 0
    assert "allowed" in ran.out
    assert '`purpose == "x"` is false: purpose = "y"' in ran.out
    assert 'it would match with purpose = "x"' in ran.out
    ran = harmost("policy", "explain", "-f", str(folder), "--fact", "purpose=x")
    assert "denied by p/live (law): no [red]" in ran.out


def test_facts_come_from_a_file_and_from_words_over_it(harmost: Any, folder: Path) -> None:
    facts = folder / "facts.txt"
    facts.write_text("purpose: y\ndata.classes: [pan]\n")
    words = ("policy", "explain", "-f", str(folder / "p.yaml"), "--facts", str(facts))
    assert harmost(*words, "--json").json["decision"]["effect"] == "allow"
    ran = harmost(*words, "--fact", "purpose=x", "--json")
    assert ran.json["decision"]["effect"] == "deny"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("purpose", "`purpose` is no fact: write `name=value`"),
        ("=x", "is no fact"),
        ("data.classes=[pan", "--fact data.classes:2:1: not YAML"),
        ("purpos=x", "no request fact is called `purpos`"),
        ("input.tokens=many", "not of type int"),
    ],
)
def test_a_fact_that_is_none_is_refused(harmost: Any, folder: Path, word: str, said: str) -> None:
    ran = harmost("policy", "explain", "-f", str(folder), "--fact", word)
    assert ran.code == 1
    assert said in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "lint"),
        ("policy", "test"),
        ("policy", "test", "-f", ".", "--over", "."),
        ("policy", "test", "-f", ".", "--coverage-min", "101"),
        ("policy", "explain", "--record", "x", "--fact", "purpose=x"),
    ],
)
def test_words_that_do_not_go_together_are_refused(harmost: Any, words: tuple[str, ...]) -> None:
    assert harmost(*words).code == 2


def test_the_running_documents_are_tested_linted_and_explained(at: Any, folder: Path) -> None:
    tests = str(EXAMPLES / "policies.test.yaml")
    ran = at("policy", "test", "-f", tests, "--running")
    assert ran.code == 0, ran.out + ran.err
    assert "11 tests, 0 failed" in ran.out
    over = at("policy", "test", "-f", tests, "--running", "--over", str(folder / "p.yaml"))
    assert over.code == 0
    assert "p/live matched in no test" in over.out
    assert at("policy", "lint", "--running").code == 0
    assert "never-matches" in at("policy", "lint", "--running", "-f", str(folder / "p.yaml")).out
    words = ("--fact", "purpose=social_scoring", "--fact", "request.tenant=acme")
    ran = at("policy", "explain", "hello", *words)
    assert "denied by prohibited-uses/no-social-scoring" in ran.out


def test_a_record_is_explained_from_its_own_facts(at: Any) -> None:
    words = ("chat", "resilient", "My card is 4111 1111 1111 1111 [[sandbox output_tokens=1]]")
    events = [json.loads(line) for line in at(*words, "--json").out.splitlines()]
    record_id = events[-1]["record_id"]

    def explained() -> Any:
        ran = at("policy", "explain", "--record", record_id)
        return ran if ran.code == 0 else None

    ran = eventually(explained, what="the record at Telemetry")
    assert "pan is replaced (mask_last4)" in ran.out
    assert '`"pan" in data.classes` is true: data.classes = ["cardholder", "pan", "personal"]' in (
        ran.out
    )
    missing = at("policy", "explain", "--record", "nope")
    assert (missing.code, "`nope`" in missing.err) == (1, True)
