"""Found facts meet the goals, "never" means never, and what is not known is said to be so."""

import itertools

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.policy.authoring.ask import Asker
from harmost.core.policy.authoring.atoms import ERROR, FALSE, TRUE
from harmost.core.policy.authoring.domains import Situation, Subject
from harmost.core.policy.authoring.search import Answer, Goal, Search
from harmost.core.policy.cel.front import fact_environment

ENVIRONMENT = fact_environment()
ASKER = Asker()


def find(*goals: tuple[str, int], tenant: str = "", steps_max: int = 5_000) -> Answer:
    made = [Goal(ENVIRONMENT.compile(source).node, wanted) for source, wanted in goals]
    answer = Search(ASKER.outcome, steps_max=steps_max).find(made, tenant=tenant)
    if answer.facts is not None:
        for goal in made:
            assert ASKER.outcome(goal.node, answer.facts) & goal.wanted
    assert (answer.kind == "found") == (answer.facts is not None)
    assert (answer.kind == "undecided") == bool(answer.why)
    return answer


@pytest.mark.parametrize(
    ("source", "wanted", "kind"),
    [
        ('purpose == "a" && purpose == "b"', TRUE, "never"),
        ('purpose == "a" || purpose != "a"', FALSE, "never"),
        ('!(purpose in ["a", "b"]) && purpose.startsWith("c")', TRUE, "found"),
        ('purpose.startsWith("ab") && purpose == "abc"', TRUE, "found"),
        ('purpose.startsWith("ab") && !purpose.startsWith("a")', TRUE, "never"),
        (
            'purpose.endsWith("b") && purpose.startsWith("a") && purpose.contains("c")',
            TRUE,
            "found",
        ),
        ('purpose.contains("bcd") && !purpose.contains("cd")', TRUE, "never"),
        ("input.tokens > 5 && input.tokens < 7", TRUE, "found"),
        ("input.tokens > 5 && input.tokens < 6", TRUE, "never"),
        ("input.tokens < 0", TRUE, "never"),  # no fact is negative
        ("9 <= input.tokens && input.tokens <= 9", TRUE, "found"),
        ("input.tokens in [3, 4] && input.tokens != 3 && input.tokens != 4", TRUE, "never"),
        ('"pan" in data.classes && !("personal" in data.classes)', TRUE, "never"),  # implied
        ('"pan" in data.classes && !("email" in data.classes)', TRUE, "found"),
        ('size(data.classes) == 0 && "a" in data.classes', TRUE, "never"),
        ('data.classes.exists(c, c == "a") && !("a" in data.classes)', TRUE, "never"),
        ('data.classes.all(c, c in ["a"]) && "b" in data.classes', TRUE, "never"),
        ('data.classes.all(c, c in ["a"]) && size(data.classes) > 0', TRUE, "found"),
        ('labels["env"] == "prod"', ERROR, "found"),
        ('"env" in labels && labels["env"] == "prod"', ERROR, "never"),
        ('has(labels.env) && labels.env == "prod" && labels["env"] == "test"', TRUE, "never"),
        ('model.quality["chat"] > 7 && model.quality["chat"] < 9', TRUE, "found"),
        ('model.quality["chat"] < 0', TRUE, "found"),  # a document may say so
        ('size(labels) == 0 && labels["a"] == "b"', TRUE, "undecided"),
        ('size(labels) == 1 && labels["a"] == "b"', TRUE, "undecided"),
        ('model.provider == "a" && provider.name == "b"', TRUE, "never"),  # two names of one fact
        ("channel.tls == true && !channel.tls", TRUE, "never"),
        ('model.name.matches("^x") && purpose == "a" && purpose == "b"', TRUE, "never"),
        ('model.name.matches("^x.*y$")', TRUE, "undecided"),
        ("purpose in tenant.allowed_purposes", TRUE, "found"),
        ("model.input_usd_picos_per_token * input.tokens > 500", TRUE, "found"),
        ("input.tokens * input.tokens == 17", TRUE, "undecided"),
        ("channel.tls ? decision.significant : decision.human_review", FALSE, "found"),
        ("true", TRUE, "found"),
        ("1 == 2", TRUE, "never"),
        ("1 / 0 == 2", ERROR, "found"),
    ],
)
def test_what_can_be_is_found_and_what_cannot_is_said(source: str, wanted: int, kind: str) -> None:
    assert find((source, wanted)).kind == kind


@pytest.mark.parametrize("function", ["contains", "startsWith", "endsWith"])
def test_more_texts_than_are_tried_together_are_never_taken_for_never(function: str) -> None:
    texts = [f"a{'x' * number}b" for number in range(30)]
    if function == "contains":
        many = " && ".join(f'purpose.{function}("{text}")' for text in texts)
        assert find((many, TRUE)).kind == "found"
    few = " && ".join(f'!purpose.{function}("{text}")' for text in texts[1:])
    assert find((few, TRUE)).kind == "found"
    pairs = " || ".join(
        f'(purpose.{function}("{one}") && purpose.contains("{other}"))'
        for one, other in itertools.pairwise(texts)
    )
    assert find((pairs, TRUE)).kind != "never"


def test_goals_are_met_together() -> None:
    goals = [('purpose in ["a", "b"]', TRUE), ('purpose == "a"', FALSE)]
    answer = find(*goals)
    assert answer.facts == Situation({"purpose": "b"}, {})
    assert find(*goals, ('purpose == "b"', FALSE)).kind == "never"


def test_a_tenant_stays_at_or_below_its_bound() -> None:
    assert find(('request.tenant == "acme"', TRUE), tenant="acme/retail").kind == "never"
    assert find(('request.tenant == "acme/retail/x"', TRUE), tenant="acme/retail").kind == "found"
    assert find(('request.tenant != "acme/retail"', TRUE), tenant="acme/retail").kind == "found"


def test_a_subject_may_be_narrowed() -> None:
    goal = [Goal(ENVIRONMENT.compile('subject.region == "EEA"').node, TRUE)]
    search = Search(ASKER.outcome)
    region = Subject("subject.region")
    assert search.find(goal, only={region: ("UK",)}).kind == "never"
    assert search.find(goal, only={region: ("UK", "EEA")}).kind == "found"


def test_what_takes_too_many_steps_is_undecided() -> None:
    keys = " && ".join(f'(labels["a{n}"] == "x" || labels["b{n}"] == "x")' for n in range(12))
    none = " && ".join(f'!(labels["a{n}"] == "x" && true)' for n in range(12))
    answer = find((keys, TRUE), (none, TRUE), ("input.tokens * input.tokens == 17", TRUE))
    assert answer.kind == "undecided"
    assert find((keys, TRUE), steps_max=3).why == "3 values were tried"


# Random conditions over a world small enough to try whole.

PURPOSES, REGIONS, TOKENS = ("a", "b", "c", ""), ("EEA", "UK"), (0, 1, 2, 3, 4, 5, 6)
leaves = st.one_of(
    st.sampled_from(PURPOSES[:3]).map(lambda p: f'purpose == "{p}"'),
    st.sampled_from(REGIONS).map(lambda r: f'subject.region in ["{r}"]'),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(1, 5)).map(
        lambda each: f"input.tokens {each[0]} {each[1]}"
    ),
    st.just("channel.tls"),
    st.just('labels["k"] == "v"'),
)
conditions = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.tuples(below, below).map(lambda both: f"({both[0]} && {both[1]})"),
        st.tuples(below, below).map(lambda both: f"({both[0]} || {both[1]})"),
        below.map(lambda one: f"!({one})"),
    ),
    max_leaves=6,
)
WORLD = [
    Situation(
        {
            "purpose": purpose,
            "subject.region": region,
            "input.tokens": tokens,
            "channel.tls": tls,
            "labels": labels,
        },
        {},
    )
    for purpose, region, tokens, tls, labels in itertools.product(
        PURPOSES, (*REGIONS, "US"), TOKENS, (True, False), ({}, {"k": "v"}, {"k": "w"})
    )
]


@settings(max_examples=effort(40, ci=500, nightly=20_000), deadline=None)
@given(conditions, st.sampled_from([TRUE, FALSE, ERROR, TRUE | ERROR]))
def test_never_and_found_agree_with_trying_everything(source: str, wanted: int) -> None:
    node = ENVIRONMENT.compile(source).node
    possible = any(ASKER.outcome(node, situation) & wanted for situation in WORLD)
    assert find((source, wanted)).kind == ("found" if possible else "never")
