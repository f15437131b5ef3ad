"""Policies are compiled all or not at all, and every problem is told with its place."""

import msgspec
import pytest

from harmost.core.limits import RULES_MAX
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.compile import compile_policies
from harmost.core.policy.decision import Redaction
from harmost.core.policy.rules import (
    CompiledRule,
    PoliciesRefused,
    RuleError,
    compile_rules,
)
from harmost.core.resources.kinds import (
    Metadata,
    PolicyException,
    PolicySpec,
    Redact,
    Rollout,
    Rule,
)


def compiled(*rules: Rule) -> tuple[CompiledRule, ...]:
    return compile_rules(
        [(Metadata(name="p", tenant="acme"), PolicySpec(rules=rules))], fact_environment()
    )


def errors(*rules: Rule) -> list[RuleError]:
    with pytest.raises(PoliciesRefused) as refused:
        compiled(*rules)
    assert len(refused.value.violations) == len(refused.value.errors)
    return list(refused.value.errors)


def test_rules_are_ordered_by_priority_then_as_written() -> None:
    rules = compiled(
        Rule(name="a", deny=""),
        Rule(name="b", deny="", priority=5),
        Rule(name="c", deny="", priority=-1),
        Rule(name="d", deny="", priority=5),
    )
    assert [rule.hit.rule for rule in rules] == ["b", "d", "a", "c"]


def test_a_hit_names_policy_rule_effect_mode_message_and_citations() -> None:
    (rule,) = compiled(Rule(name="a", deny="no cards", mode="warn", cites=("PCI DSS 3.4.1",)))
    hit = msgspec.structs.asdict(rule.hit)
    assert hit == {
        "policy": "p",
        "rule": "a",
        "effect": "deny",
        "mode": "warn",
        "message": "no cards",
        "citations": ("PCI DSS 3.4.1",),
        "error": "",
        "approver": "",
        "expires_s": 0,
    }


def test_a_problem_in_cel_has_policy_rule_field_line_and_column() -> None:
    (error,) = errors(
        Rule(name="ok", deny="x"),
        Rule(name="bad", when='purpose == "x"\n && purpos == "y"', deny="x"),
    )
    assert error == RuleError(
        policy="p",
        rule="bad",
        path=("rules", 1, "when"),
        line=2,
        column=5,
        message="`purpos` is not known: did you mean `purpose`?",
    )


def test_violations_are_the_errors_for_people() -> None:
    with pytest.raises(PoliciesRefused) as refused:
        compiled(Rule(name="bad", when="purpos == 1", deny="x"))
    (violation,) = refused.value.violations
    assert violation.field == "p.rules[0].when:1:1"
    assert violation.description.startswith("rule `bad` of policy `p`: `purpos` is not known")


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        (Rule(name="", deny="x"), "name", "no name"),
        (Rule(name="a"), "name", "no effect"),
        (Rule(name="a", deny="x", allow=True), "name", "effects `deny` and `allow`"),
        (Rule(name="a", cap_output_tokens=-1), "cap_output_tokens", "`-1` is not above 0"),
        (Rule(name="a" * 101, deny="x"), "name", "longer than 100 characters"),
        (Rule(name="a", deny="x" * 501), "deny", "longer than 500 characters"),
        (Rule(name="a", deny="x", cites=("y" * 101,)), "cites", "longer than 100 characters"),
        (Rule(name="a", deny="x", cites=("y",) * 9), "cites", "cites 9 sources"),
        (Rule(name="a", redact=Redact(classes=())), "redact", "name some of `email`, `pan`"),
        (Rule(name="a", redact=Redact(classes=("ssn",))), "redact", "`ssn` cannot be redacted"),
        (Rule(name="a", deny="x", cap_usd_per_1k_tokens="1"), "name", "`deny` and `cap_usd_per_1k"),
        (Rule(name="a", deny="x", message="y"), "message", "`deny` has a text already"),
        (Rule(name="a", allow=True, message="x" * 501), "message", "longer than 500 characters"),
        (Rule(name="a", cap_usd_per_1k_tokens="0.00"), "cap_usd_per_1k_tokens", "not above 0"),
        (
            Rule(name="a", cap_usd_per_1k_tokens="1e3"),
            "cap_usd_per_1k_tokens",
            "not a decimal number",
        ),
        (Rule(name="a", deny="x", rollout=Rollout(percent=101)), "rollout", "write 0 to 100"),
        (Rule(name="a", deny="x", rollout=Rollout(percent=-1)), "rollout", "write 0 to 100"),
        (
            Rule(name="a", deny="x", mode="warn", rollout=Rollout(percent=5)),
            "rollout",
            "mode `warn` is enforced for no one",
        ),
        (Rule(name="a", require="model.name"), "require", "gives a string, not a bool"),
        (Rule(name="a", require='model.regio == ""'), "require", "`model.region`?"),
        (Rule(name="a", when="purpose == 1", deny="x"), "when", "no matching overload"),
        (Rule(name="a", when='purpose.matches("(")', deny="x"), "when", "missing )"),
        (Rule(name="a", when="x" * 1_000_000, deny="x"), "when", "1000000 characters"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: Rule, field: str, said: str) -> None:
    (error,) = errors(rule)
    assert (error.rule, error.field) == (rule.name, field)
    assert said in error.message


def test_two_rules_of_a_policy_may_not_share_a_name() -> None:
    (error,) = errors(Rule(name="a", deny="x"), Rule(name="a", deny="y"))
    assert error.path == ("rules", 1, "name")


def test_all_problems_are_told_at_once() -> None:
    found = errors(
        Rule(name="a", when="x == 1", require="y == 1"),
        Rule(name="b"),
        Rule(name="c", when="z == 1", cap_output_tokens=-2),
    )
    assert [(error.rule, error.field) for error in found] == [
        ("a", "when"),
        ("a", "require"),
        ("b", "name"),
        ("c", "cap_output_tokens"),
        ("c", "when"),
    ]


def test_a_wrong_expression_is_told_for_every_rule_that_has_it() -> None:
    found = errors(Rule(name="a", when="x == 1", deny=""), Rule(name="b", when="x == 1", deny=""))
    assert [error.rule for error in found] == ["a", "b"]


def test_rules_that_say_the_same_share_one_expression() -> None:
    one, other = compiled(
        Rule(name="a", when="channel.tls", allow=True), Rule(name="b", when="channel.tls", deny="")
    )
    assert one.when is other.when


def test_a_coarse_class_is_redacted_as_the_classes_found_of_it() -> None:
    (rule,) = compiled(Rule(name="a", redact=Redact(classes=("personal",), with_="mask_last4")))
    assert rule.redactions == (
        Redaction(data_class="email", how="mask_last4"),
        Redaction(data_class="pan", how="mask_last4"),
    )


def test_more_rules_than_the_bound_are_refused() -> None:
    rules = tuple(Rule(name=f"r{index}", deny="") for index in range(RULES_MAX + 1))
    (error,) = errors(*rules)
    assert f"more than {RULES_MAX}" in error.message


def test_no_policies_are_fine() -> None:
    assert compile_policies([], generation=1).decide({}, [], now_s=0).effect == "allow"


def exception(**said: str) -> PolicyException:
    fields = {
        "name": "pilot",
        "when": 'request.profile == "pilot"',
        "owner": "ann@acme",
        "approver": "bob@acme",
        "expires": "2027-01-31T00:00:00Z",
        "reason": "pilot until the new region is there",
    }
    return PolicyException(**(fields | said))


def compiled_exception(**said: str) -> CompiledRule:
    policy = PolicySpec(exceptions=(exception(**said),))
    (rule,) = compile_rules([(Metadata(name="p"), policy)], fact_environment())
    return rule


def test_an_exception_is_an_allow_that_names_reason_approver_and_end() -> None:
    rule = compiled_exception()
    assert rule.hit.effect == "allow"
    assert rule.hit.message == "pilot until the new region is there"
    assert rule.hit.approver == "bob@acme"
    assert rule.hit.expires_s == rule.expires_s == 1_801_353_600
    assert rule.owner == "ann@acme"
    assert not rule.rests(1_801_353_599)
    assert rule.rests(1_801_353_600)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("approver", "ann@acme", "owns the exception: another has to approve it"),
        ("approver", " Ann@ACME ", "owns the exception: another has to approve it"),
        ("approver", "", "`approver` is empty"),
        ("owner", " ", "`owner` is empty"),
        ("reason", "", "`reason` is empty"),
        ("when", "", "`when` is empty"),
        ("name", "", "`name` is empty"),
        ("expires", "2027-01-31", "is no time: write RFC 3339"),
        ("expires", "2027-01-31T00:00:00", "is no time: write RFC 3339"),
        ("expires", "2027-02-31T00:00:00Z", "no time of the calendar"),
        ("when", "purpos == 1", "did you mean `purpose`?"),
        ("reason", "x" * 501, "longer than 500 characters"),
    ],
)
def test_an_exception_that_nobody_can_answer_for_is_refused(
    field: str, value: str, said: str
) -> None:
    policy = PolicySpec(exceptions=(exception(**{field: value}),))
    with pytest.raises(PoliciesRefused) as refused:
        compile_rules([(Metadata(name="p"), policy)], fact_environment())
    (error,) = refused.value.errors
    assert error.path == ("exceptions", 0, field)
    assert said in error.message


def test_an_exception_that_has_expired_is_sound() -> None:
    assert compiled_exception(expires="2001-01-01T00:00:00Z").rests(1_000_000_000)


def test_a_rule_and_an_exception_of_a_policy_may_not_share_a_name() -> None:
    policy = PolicySpec(rules=(Rule(name="pilot", deny="x"),), exceptions=(exception(),))
    with pytest.raises(PoliciesRefused) as refused:
        compile_rules([(Metadata(name="p"), policy)], fact_environment())
    (violation,) = refused.value.violations
    assert violation.field == "p.exceptions[0].name"
    assert violation.description.startswith("exception `pilot` of policy `p`: another rule")


def test_the_owner_of_a_policy_answers_for_rules_that_name_none() -> None:
    policy = PolicySpec(
        rules=(Rule(name="a", deny="x"), Rule(name="b", deny="x", owner="bob")), owner="ann"
    )
    rules = compile_rules([(Metadata(name="p"), policy)], fact_environment())
    assert [rule.owner for rule in rules] == ["ann", "bob"]


def test_a_rule_in_rollout_has_another_mode_elsewhere() -> None:
    (rule,) = compiled(Rule(name="a", deny="x", rollout=Rollout(percent=0, otherwise="shadow")))
    assert (rule.hit.mode, rule.hit_of("acme").mode) == ("enforce", "shadow")
    (all_of_them,) = compiled(Rule(name="a", deny="x", rollout=Rollout(percent=100)))
    assert all_of_them.hit_of("acme").mode == "enforce"


def test_a_rule_of_any_effect_may_say_something_to_whom_it_meets() -> None:
    said, told, silent = compiled(
        Rule(name="a", require="channel.tls", message="use TLS"),
        Rule(name="b", deny="", message="no"),
        Rule(name="c", deny=""),
    )
    assert [rule.hit.message for rule in (said, told, silent)] == ["use TLS", "no", ""]
