"""Test, Lint and Explain over the running documents, as far as the key reaches."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from harmost.common.v1 import decision_pb2
from harmost.policy.v1 import policy_pb2
from harmost.services.policy import authoring

HEAD = "apiVersion: harmost.dev/v1\nkind: PolicyTest\nspec:\n"
OTHER = """\
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: secret, tenant: globex}
spec:
  rules:
    - {name: theirs, when: purpose == "x" && purpose == "y", deny: no}
"""
OVER = """\
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: regions, tenant: acme}
spec:
  rules:
    - {name: none, when: purpose == "a" && purpose == "b", deny: no}
  exceptions:
    - {name: soon, when: channel.tls, owner: ann, approver: bob, reason: r, expires: "2999-01-01T00:00:00Z"}
"""


def table(spec: str, **fields: Any) -> policy_pb2.TestRequest:
    source = policy_pb2.Source(name="t.test.yaml", yaml=(HEAD + spec).encode())
    return policy_pb2.TestRequest(tests=[source], **fields)


def over(text: str) -> list[policy_pb2.Source]:
    return [policy_pb2.Source(name="over.yaml", yaml=text.encode())]


async def test_tests_are_run_and_covered(mesh: Any) -> None:
    spec = (
        "  tests:\n"
        "    - {name: one, profile: hello, facts: {subject.region: EEA}, "
        "expect: {candidates: [european], hits: [regions/stays-in-eu]}}\n"
        "    - {name: two, expect: {effect: deny}}\n"
    )
    answer = await mesh.caller("acme")("Test", table(spec))
    assert [(each.name, each.place, list(each.problems)) for each in answer.results] == [
        ("one", "t.test.yaml:5:7", []),
        ("two", "t.test.yaml:6:7", ["effect: expected `deny`, found `allow`"]),
    ]
    assert [(each.rule, each.matched) for each in answer.coverage] == [
        ("stays-in-eu", 1),
        ("no-scoring", 0),
    ]
    atoms = {atom.text: (atom.seen_true, atom.seen_false) for atom in answer.coverage[0].atoms}
    assert atoms == {
        'subject.region == "EEA"': (True, True),
        'model.region == "EEA"': (True, True),
    }


async def test_documents_may_be_tested_before_they_are_applied(mesh: Any) -> None:
    spec = (
        "  tests: [{name: one, profile: hello, facts: {subject.region: EEA}, expect: {hits: []}}]\n"
    )
    assert (await mesh.caller("acme")("Test", table(spec))).results[0].problems
    answer = await mesh.caller("acme")("Test", table(spec, sources=over(OVER)))
    assert not answer.results[0].problems
    assert [each.rule for each in answer.coverage] == ["none", "soon"]
    assert (await mesh.caller("acme").get("Policy", "regions")).resource.generation == 1


async def test_a_test_is_of_the_key_s_own_tenant_and_below(mesh: Any) -> None:
    spec = "  tests: [{name: one, facts: {request.tenant: globex}, expect: {}}]\n"
    reason, _ = await mesh.caller("acme").refused("Test", table(spec))
    assert reason == "FORBIDDEN"
    spec = "  tests: [{name: one, facts: {request.tenant: acme/retail}, expect: {}}]\n"
    assert not (await mesh.caller("acme")("Test", table(spec))).results[0].problems


async def test_other_tenants_rules_are_neither_covered_nor_linted(mesh: Any) -> None:
    await mesh.caller("root").apply(OTHER)
    answer = await mesh.caller("acme")("Test", table("  tests: []\n"))
    assert {each.policy for each in answer.coverage} == {"regions"}
    found = await mesh.caller("acme")("Lint", policy_pb2.LintRequest())
    assert {each.policy for each in found.findings} == {"regions"}
    everything = await mesh.caller("root")("Lint", policy_pb2.LintRequest())
    assert {each.policy for each in everything.findings} == {"regions", "secret"}


async def test_a_mistake_in_a_test_is_told_at_its_place(mesh: Any, told: Any) -> None:
    request = table("  tests: [{name: one, facts: {purpos: x}, expect: {}}]\n")
    reason, error = await mesh.caller("acme").refused("Test", request)
    assert reason == "INVALID_DOCUMENTS"
    assert told(error)[0].startswith("t.test.yaml:4:39 no request fact is called `purpos`")


async def test_more_tests_than_a_service_has_time_for_are_refused(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authoring, "POLICY_TEST_RPC_RULES_MAX", 3)  # two rules run
    many = "  tests:\n" + "".join(f"    - {{name: t{n}, expect: {{}}}}\n" for n in range(2))
    reason, error = await mesh.caller("acme").refused("Test", table(many))
    assert reason == "INVALID_INPUT"
    assert "2 tests of 2 rules are too many at once" in str(error.details())
    assert (await mesh.caller("acme")("Test", table("  tests: [{name: a, expect: {}}]\n"))).results


async def test_lint_places_findings_in_the_file_that_was_sent(mesh: Any) -> None:
    request = policy_pb2.LintRequest(sources=over(OVER), expires_within=Duration(seconds=1))
    answer = await mesh.caller("acme")("Lint", request)
    (never,) = [each for each in answer.findings if each.kind == "never-matches"]
    assert (never.place, never.severity) == ("over.yaml:6:26", policy_pb2.SEVERITY_ERROR)
    assert "expires-soon" not in {each.kind for each in answer.findings}
    assert answer.rules == 2


async def test_lint_of_documents_that_do_not_compile_is_refused(mesh: Any, told: Any) -> None:
    bad = OVER.replace("channel.tls", "channel.tsl")
    request = policy_pb2.LintRequest(sources=over(bad))
    reason, error = await mesh.caller("acme").refused("Lint", request)
    assert reason == "INVALID_DOCUMENTS"
    assert told(error)[0].startswith("over.yaml:8:33 exception `soon`: `channel.tsl` is not known")


async def test_lint_over_another_tenants_policy_is_forbidden(mesh: Any) -> None:
    await mesh.caller("root").apply(OTHER)
    reason, _ = await mesh.caller("acme").refused(
        "Lint", policy_pb2.LintRequest(sources=over(OTHER))
    )
    assert reason == "FORBIDDEN"


async def test_a_second_lint_at_once_is_told_to_come_again(mesh: Any) -> None:
    caller = mesh.caller("acme")
    rules = "\n".join(
        f'    - {{name: r{n}, when: \'labels["k{n}"] == "x" && purpose != "p{n}"\', deny: x}}'
        for n in range(150)
    )
    request = policy_pb2.LintRequest(sources=over(OVER.partition("    - ")[0] + rules + "\n"))
    done = await asyncio.gather(
        *(caller("Lint", request) for _ in range(3)), return_exceptions=True
    )
    refused = [each for each in done if isinstance(each, Exception)]
    assert len(refused) == 2
    assert all("running: try again" in str(each) for each in refused)


async def test_who_leaves_a_lint_leaves_it_to_its_end(mesh: Any) -> None:
    caller = mesh.caller("acme")
    rules = "\n".join(f'    - {{name: r{n}, when: purpose == "p{n}", deny: x}}' for n in range(200))
    request = policy_pb2.LintRequest(sources=over(OVER.partition("    - ")[0] + rules + "\n"))
    left = caller.stub.Lint(request, metadata=caller.metadata)
    lock = mesh.servicer._authoring._long_work
    while not lock.locked():  # the test's own time limit bounds this
        await asyncio.sleep(0.001)
    left.cancel()
    reason, _ = await caller.refused("Lint", request)
    assert reason == "RATE_LIMITED"
    while lock.locked():
        await asyncio.sleep(0.01)
    assert (await caller("Lint", policy_pb2.LintRequest())).rules == 2


async def test_lint_and_test_are_for_authors_and_operators(mesh: Any) -> None:
    for method, request in (("Lint", policy_pb2.LintRequest()), ("Test", table("  tests: []\n"))):
        reason, _ = await mesh.caller("caller").refused(method, request)
        assert reason == "FORBIDDEN"


async def test_explain_tells_what_decided_and_what_would_turn_it(mesh: Any) -> None:
    facts = decision_pb2.Facts()
    facts.request["subject.region"].string_value = "US"
    request = policy_pb2.ExplainRequest(profile="hello", facts=facts)
    answer = await mesh.caller("acme")("Explain", request)
    stays = next(each for each in answer.rules if each.rule.rule == "stays-in-eu")
    (atom,) = stays.atoms
    assert (atom.text, atom.gave) == ('subject.region == "EEA"', policy_pb2.TRUTH_FALSE)
    assert atom.facts["subject.region"].string_value == "US"
    assert stays.require == 'model.region == "EEA"'
    assert stays.flips[0].would_be.string_value == "EEA"
    assert [(each.fact, each.would_be.string_value) for each in answer.flips] == [
        ("purpose", "social_scoring")
    ]
    await mesh.caller("root").apply(OVER)  # the next generation is explained, not the one before
    answer = await mesh.caller("acme")("Explain", request)
    assert {each.rule.rule for each in answer.rules} == {"none", "soon"}
