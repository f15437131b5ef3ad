"""A fact vector holds what the decision was made on and what it was; older bytes stay readable."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.chat import Call
from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.policy.facts import FactScope, declared_facts, default_of, request_facts
from harmost.core.policy.vector import (
    NOT_RECORDED,
    SLOTS,
    VECTOR_BYTES_MAX,
    Outcome,
    decoded,
    encoded,
    outcome_of,
)

WORDS = st.text(max_size=8)


def values(name: str) -> st.SearchStrategy[object]:
    default = default_of(name)
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, list):
        return st.lists(WORDS, max_size=4)
    if isinstance(default, dict):
        return st.dictionaries(WORDS, WORDS, max_size=3)
    return st.integers(0, 2**63 - 1) if default == 0 else WORDS


FACTS = st.fixed_dictionaries({name: values(name) for name in SLOTS})
HIT = RuleHit(policy="p", rule="no", effect="deny")
DECISION = Decision(
    effect="deny",
    denied_by=HIT,
    redactions=(Redaction(data_class="pan", how="label"), Redaction(data_class="iban", how="x")),
    output_tokens_max=9,
    snapshot_generation=7,
)


def test_every_request_fact_is_recorded_or_left_out_by_name() -> None:
    declared = {n for n, fact in declared_facts().items() if fact.scope is FactScope.REQUEST}
    assert declared - set(SLOTS) == NOT_RECORDED


def test_slots_stay_where_they_are() -> None:
    """Bytes of older versions are read by these numbers: append, never move."""
    assert SLOTS[:18] == (
        "request.tenant",
        "request.profile",
        "request.principal",
        "request.agent_id",
        "request.end_user_id",
        "labels",
        "purpose",
        "data.classes",
        "data.lawful_basis",
        "subject.region",
        "subject.opt_outs",
        "decision.significant",
        "decision.human_review",
        "input.tokens",
        "input.bytes",
        "output.tokens_max",
        "tenant.allowed_purposes",
        "channel.tls",
    )


@given(FACTS, st.lists(WORDS, max_size=4))
def test_what_was_encoded_comes_back(facts: dict, candidates: list[str]) -> None:  # type: ignore[type-arg]
    vector = decoded(encoded(facts, candidates, DECISION))
    assert vector.facts == facts
    assert vector.candidates == tuple(candidates)
    assert vector.generation == 7
    assert vector.outcome == Outcome(("p", "no"), (), (("iban", "x"), ("pan", "label")), 9)


def test_a_real_call_fits_and_is_small() -> None:
    call = Call(profile="hello", tenant="acme/retail", principal="app", messages=())
    facts = request_facts(
        call,
        tenant=None,
        data_classes=["pan"],
        input_tokens=100,
        input_bytes=400,
        modalities=["text"],
        output_tokens_max=500,
        tls=True,
    )
    assert len(encoded(facts, ["small", "large"], DECISION)) < 200


def test_who_the_data_is_about_is_not_kept() -> None:
    facts = {name: default_of(name) for name in declared_facts()}
    facts["request.data_subject_id"] = "patient-4711"
    assert b"patient-4711" not in encoded(facts, [], DECISION)


def test_bytes_with_fewer_slots_have_defaults_for_the_rest() -> None:
    old = msgspec.msgpack.encode([1, 3, ["m"], ["acme", "hello"], [None, ["m"], [], 0]])
    vector = decoded(old)
    assert vector.facts["request.profile"] == "hello"
    assert vector.facts["labels"] == {}
    assert vector.facts["data.classes"] == []
    assert vector.facts["channel.tls"] is False
    assert vector.outcome == Outcome(candidates=("m",))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (msgspec.msgpack.encode([1, 3, ["m"], [5], [None, [], [], 0]]), "cannot be read"),
        (msgspec.msgpack.encode([2, 3, [], [], []]), "format 2 are not known"),
    ],
)
def test_other_bytes_are_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        decoded(content)


def test_outcome_of_an_allowed_call_names_no_rule() -> None:
    assert outcome_of(Decision(effect="allow", candidates=("m",))) == Outcome(candidates=("m",))


def test_a_vector_beyond_its_bound_is_left_out() -> None:
    facts = {name: default_of(name) for name in declared_facts()}
    facts["tenant.allowed_purposes"] = ["x" * 60] * 1_000
    assert 60_000 < len(encoded(facts, [], DECISION)) <= VECTOR_BYTES_MAX
    facts["tenant.allowed_purposes"] = ["x" * 60] * 1_100
    assert encoded(facts, [], DECISION) == b""
