"""docs/policy.md says what the code does: its tables are read and tried, its examples loaded and run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from harmost.core.policy.authoring.cases import Expect, parse_cases
from harmost.core.policy.authoring.lint_run import FindingKind
from harmost.core.policy.authoring.trial import try_cases
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.decision import Decision, Effect
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import declared_facts
from harmost.core.policy.rule_checks import EFFECT_FIELDS
from harmost.core.resources.kinds import Metadata, PolicySpec, Redact, Rule
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import compile_snapshot

GUIDE = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
TENANT = "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n"
MODEL = Candidate(
    "m",
    {
        "model.region": "EEA",
        "model.price_known": True,
        "model.output_usd_picos_per_token": 5_000_000,
    },
)
CALL = {"request.tenant": "acme", "data.classes": ["pan"], "output.tokens_max": 100}
BROKEN = 'labels["absent"] == "x"'


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the table that begins with the column `heading`."""
    lines = GUIDE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert rows
    return [[cell.strip() for cell in row] for row in rows]


def test_the_table_of_facts_is_the_declaration() -> None:
    declared = [
        [f"`{fact.name}`", str(fact.type), " ".join(fact.meaning.split())]
        for fact in declared_facts().values()
    ]
    assert table("fact") == declared


def test_the_table_of_effects_has_every_effect_and_its_field() -> None:
    told = {row[0]: row[1].strip("`") for row in table("effect")}
    assert told == dict(EFFECT_FIELDS)
    assert set(told) == set(get_args(Effect))


def test_the_tables_of_findings_and_expectations_are_whole() -> None:
    findings = re.findall(r"`([a-z-]+)`", " ".join(row[0] for row in table("finding")))
    assert sorted(findings) == sorted(get_args(FindingKind))
    fields = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("in `expect`")))
    assert sorted(fields) == sorted(Expect.__struct_fields__)


# How an effect of two rules decides: the words of the table, each with what has to hold of them.


def decided(*rules: tuple[str, Rule]) -> Decision:
    documents = [
        (
            Metadata(name=f"p{index}", tenant=tenant),
            PolicySpec(rules=(msgspec.structs.replace(rule, name=f"r{index}"),)),
        )
        for index, (tenant, rule) in enumerate(rules)
    ]
    return compile_policies(documents, generation=1).decide(CALL, [MODEL], now_s=0)


def of(**said: Any) -> tuple[str, Rule]:
    return "acme", Rule(name="", **said)


def any_counts(effect: str) -> None:
    met, unmet = {"when": "true"}, {"when": "false"}
    lifted = [of(deny="x")] if effect == "allow" else []
    said: dict[str, Any] = {"allow": True, "priority": 1} if effect == "allow" else {"deny": "x"}
    wanted = "allow" if effect == "allow" else "deny"
    assert decided(*lifted, of(**said, **met), of(**said, **unmet)).effect == wanted
    assert decided(*lifted, of(**said, **unmet), of(**said, **met)).effect == wanted


def all_count(effect: str) -> None:
    met, unmet = of(**{effect: 'model.region == "EEA"'}), of(**{effect: 'model.region == "US"'})
    assert decided(met, met).effect == "allow"
    assert decided(met, unmet).effect == "deny"
    assert decided(unmet, met).effect == "deny"


def union_counts(effect: str) -> None:
    one, other = of(redact=Redact(classes=("pan",))), of(redact=Redact(classes=("email",)))
    classes = [each.data_class for each in decided(one, other).redactions]
    assert classes == ["email", "pan"]


def least_counts(effect: str) -> None:
    field = EFFECT_FIELDS[effect]  # type: ignore[index]
    low, high = (5, 9) if field == "cap_output_tokens" else ("0.1", "0.2")
    attribute = "output_tokens_max" if low == 5 else "usd_nanos_per_1k_tokens_max"
    both = decided(of(**{field: high}), of(**{field: low}))
    assert getattr(both, attribute) == getattr(decided(of(**{field: low})), attribute) > 0


WORDS: dict[str, Callable[[str], None]] = {
    "any": any_counts,
    "all": all_count,
    "union": union_counts,
    "least": least_counts,
}


@pytest.mark.parametrize("row", table("effect"), ids=lambda row: row[0])
def test_two_rules_of_an_effect_decide_as_the_table_says(row: list[str]) -> None:
    WORDS[row[-1]](row[0])


RULES: dict[str, list[tuple[str, Rule]]] = {
    "nothing": [],
    "deny": [of(deny="x")],
    "deny of a tenant above": [("", Rule(name="", deny="x"))],
    "deny that warns": [of(deny="x", mode="warn")],
    "deny in shadow": [of(deny="x", mode="shadow")],
    "deny that cannot be evaluated": [of(deny="x", when=BROKEN)],
    "allow of priority 0": [of(allow=True)],
    "allow of priority 1": [of(allow=True, priority=1)],
    "allow of priority 1 that warns": [of(allow=True, priority=1, mode="warn")],
    "allow of priority 1 that cannot be evaluated": [of(allow=True, priority=1, when=BROKEN)],
    "require that is met": [of(require='model.region == "EEA"')],
    "require that is not met": [of(require='model.region == "US"')],
    "require that cannot be evaluated": [of(require=BROKEN)],
    "price cap below the price": [of(cap_usd_per_1k_tokens="0.004")],
    "price cap above the price": [of(cap_usd_per_1k_tokens="0.006")],
    "redact with mask_last4": [of(redact=Redact(classes=("pan",), with_="mask_last4"))],
    "redact with label": [of(redact=Redact(classes=("pan",)))],
    "cap of 5 tokens": [of(cap_output_tokens=5)],
    "cap of 9 tokens": [of(cap_output_tokens=9)],
}


def outcome(decision: Decision) -> str:
    said = ["denied" if decision.effect == "deny" else "allowed"]
    said += [f"{each.data_class} as {each.how}" for each in decision.redactions]
    if decision.output_tokens_max:
        said.append(f"at most {decision.output_tokens_max} tokens")
    return ", ".join(said)


@pytest.mark.parametrize("row", table("one rule"), ids=lambda row: f"{row[0]} + {row[1]}")
def test_two_rules_make_of_a_call_what_the_table_says(row: list[str]) -> None:
    one, another, call = row
    assert outcome(decided(*RULES[one], *RULES[another])) == call
    assert outcome(decided(*RULES[another], *RULES[one])) == call


def test_the_table_of_two_rules_leaves_no_rule_out() -> None:
    told = {cell for row in table("one rule") for cell in row[:2]}
    assert told == set(RULES)


def test_the_examples_load_and_their_tests_pass() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (policy,) = [block for block in blocks if "kind: Policy\n" in block]
    (tests,) = [block for block in blocks if "kind: PolicyTest\n" in block]
    documents = parse_sources([Source("guide.yaml", f"{TENANT}---\n{policy}".encode())])
    cases = parse_cases([Source("guide.test.yaml", tests.encode())])
    trial = try_cases(compile_snapshot(1, documents), cases, now_s=0)
    assert [result for result in trial.results if result.problems] == []
    assert len(trial.results) == 2


@pytest.mark.parametrize("command", ["test", "lint", "explain"])
def test_the_commands_of_the_guide_are_there(command: str) -> None:
    assert f"harmost policy {command}" in GUIDE
