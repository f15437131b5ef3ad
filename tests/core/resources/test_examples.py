"""The examples that the embedded default runs on load, and mean what the documentation says."""

from pathlib import Path

import pytest

from harmost.core.policy.authoring.cases import is_case_file, parse_cases
from harmost.core.policy.authoring.lint import lint
from harmost.core.policy.authoring.trial import try_cases
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import candidate_facts
from harmost.core.resources.dump import dump
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot

EXAMPLES = Path(__file__).parents[3] / "examples"
PRICES = {  # picodollars a token, as the sandbox bills
    "sandbox-small": (150_000, 600_000),
    "sandbox-large": (2_500_000, 10_000_000),
    "claude-sonnet": (3_000_000, 15_000_000),
    "claude-haiku": (800_000, 4_000_000),
    "gemini-pro": (1_250_000, 10_000_000),
    "sandbox-embed": (20_000, 0),
}


def sources() -> list[Source]:
    return [
        Source(path.name, path.read_bytes())
        for path in sorted(EXAMPLES.glob("*.yaml"))
        if not is_case_file(path.name)
    ]


@pytest.fixture(scope="module")
def snapshot() -> CompiledSnapshot:
    return compile_snapshot(1, parse_sources(sources()))


def candidates(snapshot: CompiledSnapshot, *names: str) -> list[Candidate]:
    catalog = snapshot.catalog
    models = {name: catalog.models[name].spec for name in names}
    return [
        Candidate(
            name,
            candidate_facts(
                name, model, model.provider, catalog.providers[model.provider].spec, None
            ),
        )
        for name, model in models.items()
    ]


def test_prices_are_what_the_sandbox_bills(snapshot: CompiledSnapshot) -> None:
    found = {
        name: (price.input_usd_picos, price.output_usd_picos)
        for name, price in snapshot.prices.at(0).items()
        if price
    }
    assert found == PRICES


def test_support_example_runs_its_second_step_on_distress(snapshot: CompiledSnapshot) -> None:
    empathy, resolve = snapshot.steps["customer-support-escalation"]
    assert empathy.models == ("claude-sonnet", "claude-haiku")
    assert resolve.runs({"empathy": {"score": 8}})
    assert not resolve.runs({"empathy": {"score": 3}})


def test_personal_data_of_the_eea_stays_there(snapshot: CompiledSnapshot) -> None:
    decision = snapshot.engine.decide(
        {
            "request.tenant": "acme/retail/support",
            "data.classes": ["personal"],
            "subject.region": "EEA",
        },
        candidates(snapshot, "gemini-pro", "claude-sonnet"),
        now_s=0,
    )
    assert decision.candidates == ("claude-sonnet",)
    assert decision.exclusions[0].hit.citations == ("GDPR Art. 44",)


def test_prohibited_purpose_is_denied_with_its_citation(snapshot: CompiledSnapshot) -> None:
    decision = snapshot.engine.decide(
        {"request.tenant": "acme", "purpose": "social_scoring"},
        candidates(snapshot, "sandbox-small"),
        now_s=0,
    )
    assert decision.effect == "deny"
    assert decision.denied_by is not None
    assert decision.denied_by.rule == "no-social-scoring"


def test_card_numbers_are_redacted(snapshot: CompiledSnapshot) -> None:
    decision = snapshot.engine.decide(
        {"request.tenant": "acme", "data.classes": ["pan"]},
        candidates(snapshot, "sandbox-small"),
        now_s=0,
    )
    assert [(item.data_class, item.how) for item in decision.redactions] == [("pan", "mask_last4")]


def test_examples_are_read_back_from_their_canonical_form() -> None:
    for parsed in parse_sources(sources()):
        again = parse_sources([Source("again", dump(parsed.document))])[0]
        assert again.document == parsed.document


def test_the_tests_of_the_policies_pass_and_cover_every_rule_and_part(
    snapshot: CompiledSnapshot,
) -> None:
    tests = EXAMPLES / "policies.test.yaml"
    trial = try_cases(snapshot, parse_cases([Source(tests.name, tests.read_bytes())]), now_s=0)
    assert [result for result in trial.results if result.problems] == []
    assert trial.coverage.rule_permille == 1000
    assert trial.coverage.atom_permille == 1000


def test_the_policies_have_nothing_doubtful(snapshot: CompiledSnapshot) -> None:
    policies = [(policy.metadata, policy.spec) for policy in snapshot.catalog.policies.values()]
    report = lint(policies, now_s=1_800_000_000, expires_within_s=0)
    assert (report.findings, report.undecided) == ((), ())
