"""Tables of tests: read with every mistake at its place, run, and what they cover."""

import pytest

from harmost.core.errors import InvalidDocuments
from harmost.core.policy.authoring.cases import PlacedCase, is_case_file, parse_cases
from harmost.core.policy.authoring.trial import CaseResult, Trial, try_cases
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import compile_snapshot

DOCUMENTS = """\
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme}
spec: {allowed_purposes: [support]}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: vendor}
spec: {codec: openai, base_url: "https://api.example.com/v1", region: US}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: small}
spec: {provider: vendor, vendor_model_id: small-1, price: {input: "1", output: "1"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: hello}
spec: {models: [small], output_tokens_max: 77}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: p}
spec:
  rules:
    - {name: cards, when: '"pan" in data.classes && channel.tls', redact: {classes: [pan]}}
    - {name: eu, when: subject.region == "EEA", require: model.region == "EEA"}
    - {name: short, when: output.tokens_max == 77, cap_output_tokens: 50}
    - {name: other, when: '!(purpose in tenant.allowed_purposes)', deny: x, mode: shadow}
"""
HEAD = "apiVersion: harmost.dev/v1\nkind: PolicyTest\nspec:\n"


def cases(spec: str) -> tuple[PlacedCase, ...]:
    return parse_cases([Source("t.test.yaml", (HEAD + spec).encode())])


def run(spec: str, *, now_s: int = 0) -> Trial:
    snapshot = compile_snapshot(1, parse_sources([Source("d.yaml", DOCUMENTS.encode())]))
    return try_cases(snapshot, cases(spec), now_s=now_s)


def one(test: str) -> CaseResult:
    (result,) = run(f"  tests:\n    - {{name: a, {test}}}\n").results
    return result


@pytest.mark.parametrize(
    "test",
    [
        "candidates: [small], expect: {effect: allow, candidates: [small], hits: [p/other]}",
        "facts: {subject.region: EEA}, candidates: [small], "
        "expect: {effect: deny, denied_by: p/eu, excluded: {small: p/eu}, candidates: []}",
        "facts: {data.classes: [pan], channel.tls: true}, expect: {redact: {pan: label}}",
        "facts: {data.classes: [pan]}, expect: {redact: {}}",
        "profile: hello, expect: {candidates: [small], cap_output_tokens: 50}",
        "facts: {output.tokens_max: 3}, profile: hello, expect: {cap_output_tokens: 0}",
        "facts: {request.tenant: acme, purpose: support}, expect: {hits: []}",
        "candidates: [{model.name: x, model.region: EEA}], facts: {subject.region: EEA}, "
        "expect: {candidates: [x], cap_usd_per_1k_tokens: ''}",
        "facts: {subject.region: EEA}, candidates: [small, {model.name: x, model.region: EEA}], "
        "expect: {candidates: [x]}",
        "expect: {}",
    ],
)
def test_what_was_expected_passes(test: str) -> None:
    assert one(test).problems == ()


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ("expect: {effect: deny}", "effect: expected `deny`, found `allow`"),
        ("expect: {denied_by: p/eu}", "denied_by: expected `p/eu`, found ``"),
        ("expect: {hits: []}", "hits: expected `[]`, found `[p/other]`"),
        ("expect: {hits: [p/oter]}", "no rule is called `p/oter`: did you mean `p/other`?"),
        (
            "candidates: [small], expect: {candidates: []}",
            "candidates: expected `[]`, found `[small]`",
        ),
        ("expect: {redact: {pan: label}}", "redact: expected `{pan: label}`, found `{}`"),
        ("expect: {cap_output_tokens: 5}", "cap_output_tokens: expected `5`, found `0`"),
        (
            'expect: {cap_usd_per_1k_tokens: "0.1"}',
            "cap_usd_per_1k_tokens: expected `0.1`, found `0.000000000`",
        ),
        ('expect: {cap_usd_per_1k_tokens: "x"}', "not a decimal number"),
        ("candidates: [smal], expect: {}", "model `smal` does not exist"),
        ("profile: hallo, expect: {}", "mission profile `hallo` does not exist"),
        ("candidates: [small, small], expect: {}", "named twice"),
    ],
)
def test_what_differs_is_told_with_both(test: str, problem: str) -> None:
    result = one(test)
    assert any(problem in told for told in result.problems), result.problems
    assert (result.source, result.line, result.column) == ("t.test.yaml", 5, 7)


@pytest.mark.parametrize(
    ("spec", "place", "said"),
    [
        ("  tests: []\n  test: []\n", "5:3", "`PolicyTest.spec.test` is not a field"),
        ("  tests:\n    - {expect: {}}\n", "5:7", "`PolicyTest.spec.tests[0].name` is missing"),
        ("  tests:\n    - {name: a}\n", "5:7", "`PolicyTest.spec.tests[0].expect` is missing"),
        ("  tests:\n    - {name: a, expect: {efect: deny}}\n", "5:26", "did you mean `effect`?"),
        ("  tests:\n    - {name: a, expect: {effect: denied}}\n", "5:34", "cannot be `denied`"),
        (
            "  tests:\n    - {name: a, facts: {purpos: x}, expect: {}}\n",
            "5:33",
            "no request fact is called `purpos`",
        ),
        (
            "  tests:\n    - {name: a, facts: {input.tokens: many}, expect: {}}\n",
            "5:39",
            "`input.tokens` is not of type int",
        ),
        (
            "  tests:\n    - {name: a, candidates: [{model.region: EEA}], expect: {}}\n",
            "5:30",
            "no `model.name`",
        ),
        ("  tests:\n    - {name: a, candidates: [3], expect: {}}\n", "5:30", "name of a model"),
        ("  tests:\n    - {name: a, now: today, expect: {}}\n", "5:22", "is no time"),
        (
            "  tests:\n    - {name: a, expect: {}}\n    - {name: a, expect: {}}\n",
            "6:7",
            "no name of its own",
        ),
        ("  tests: {\n", "5:1", "not YAML"),
    ],
)
def test_a_mistake_in_a_table_is_told_at_its_place(spec: str, place: str, said: str) -> None:
    with pytest.raises(InvalidDocuments) as refused:
        cases(spec)
    found = [(each.field, each.description) for each in refused.value.violations]
    assert any(field == f"t.test.yaml:{place}" and said in text for field, text in found), found


def test_a_table_s_own_facts_and_time_are_those_of_every_test() -> None:
    first, second = cases(
        "  facts: {purpose: a, subject.region: UK}\n  now: '2027-01-01T00:00:00Z'\n"
        "  candidates: [small]\n  tests:\n"
        "    - {name: one, facts: {purpose: b}, expect: {}}\n"
        "    - {name: two, now: '2028-01-01T00:00:00Z', candidates: [x], expect: {}}\n"
    )
    assert first.case.facts == {"purpose": "b", "subject.region": "UK"}
    assert first.case.candidates == ("small",)
    assert first.now_s == 1_798_761_600
    assert second.case.candidates == ("x",)
    assert second.now_s == 1_830_297_600


def test_coverage_counts_rules_that_matched_and_parts_seen_both_ways() -> None:
    trial = run(
        "  tests:\n"
        "    - {name: a, facts: {data.classes: [pan], channel.tls: true}, expect: {}}\n"
        "    - {name: b, facts: {subject.region: EEA}, candidates: [small], expect: {}}\n"
    )
    rules = {rule.rule: rule for rule in trial.coverage.rules}
    assert {name: rule.matched for name, rule in rules.items()} == {
        "cards": 1,
        "eu": 1,
        "short": 0,
        "other": 2,
    }
    assert trial.coverage.rule_permille == 750
    seen = {
        atom.text: (atom.seen_true, atom.seen_false)
        for rule in trial.coverage.rules
        for atom in rule.atoms
    }
    assert seen == {
        '"pan" in data.classes': (True, True),
        "channel.tls": (True, True),
        'subject.region == "EEA"': (True, True),
        'model.region == "EEA"': (False, True),
        "output.tokens_max == 77": (False, True),
        "purpose in tenant.allowed_purposes": (False, True),
    }
    assert trial.coverage.atom_permille == 500


def test_a_part_that_was_only_true_is_not_covered() -> None:
    trial = run("  tests:\n    - {name: a, facts: {data.classes: [pan]}, expect: {}}\n")
    atoms = {atom.text: atom for rule in trial.coverage.rules for atom in rule.atoms}
    pan = atoms['"pan" in data.classes']
    assert (pan.seen_true, pan.seen_false) == (True, False)


def test_no_tests_cover_nothing() -> None:
    trial = run("  tests: []\n")
    assert (trial.results, trial.coverage.rule_permille) == ((), 0)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.test.yaml", True), ("x/a.test.yml", True), ("a.yaml", False), ("test.yaml", False)],
)
def test_tests_are_known_by_their_file_s_name(name: str, is_one: bool) -> None:
    assert is_case_file(name) is is_one
