"""Replay finds every decision that changes, says in what way, and counts for whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.policy.engine import Candidate
from harmost.core.policy.facts import FactScope, checked_facts
from harmost.core.policy.replay import CHANGES, Recorded, Replay, changes
from harmost.core.policy.vector import Outcome, encoded, outcome_of
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot

NS = 10**9
T0 = 1_800_000_000
DENY = RuleHit(policy="p", rule="r", effect="deny")
CATALOG = """
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: globex}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: p}
spec:
  rules:
"""


def snapshot(*rules: str) -> CompiledSnapshot:
    lines = "".join(
        f"    - {rule}\n" for rule in rules or ("{name: none, when: 'false', deny: x}",)
    )
    return compile_snapshot(2, parse_sources([Source("t.yaml", (CATALOG + lines).encode())]))


def candidate_of(name: str) -> Candidate | None:
    if name == "gone":
        return None
    region = "EEA" if name.startswith("eu") else "US"
    facts = {"model.name": name, "model.region": region}
    return Candidate(name, checked_facts(facts, scope=FactScope.CANDIDATE))


def recorded(
    number: int, decision: Decision, *models: str, tenant: str = "acme", **facts: object
) -> Recorded:
    given = {"request.tenant": tenant, "request.profile": "hello"}
    given |= {name.replace("__", "."): value for name, value in facts.items()}  # type: ignore[misc]
    made = encoded(checked_facts(given, scope=FactScope.REQUEST), models, decision)
    return Recorded(f"r{number}", tenant, "hello", T0 * NS, made)


ALLOWED = Decision(effect="allow", candidates=("us", "eu"))


def test_flips_are_found_named_and_counted() -> None:
    replay = Replay(
        snapshot(
            "{name: no, when: 'purpose == \"ads\"', deny: x}",
            "{name: eu, when: '\"pan\" in data.classes', require: 'model.region == \"EEA\"'}",
        ).engine,
        candidate_of,
    )
    kept = [
        recorded(1, ALLOWED, "us", "eu"),
        recorded(2, ALLOWED, "us", "eu", purpose="ads"),
        recorded(3, ALLOWED, "us", "eu", data__classes=["pan"]),
        recorded(4, Decision(effect="deny", denied_by=DENY), "us", "eu", tenant="globex"),
        recorded(5, Decision(effect="deny", denied_by=DENY), "us", purpose="ads"),
    ]
    flips = replay.over(kept, flips_max=10)
    assert [(f.recorded.record_id, f.changes) for f in flips] == [
        ("r2", ("allow_to_deny",)),
        ("r3", ("candidates",)),
        ("r4", ("deny_to_allow",)),
    ]
    assert flips[0].after.denied_by is not None
    assert flips[1].after.candidates == ("eu",)
    assert (replay.decisions, replay.flips, replay.skipped) == (5, 3, 0)
    assert replay.counts == {
        "allow_to_deny": 1,
        "deny_to_allow": 1,
        "candidates": 1,
        "redactions": 0,
        "caps": 0,
    }
    (acme, counted), (globex, _) = replay.most_flipped(10)
    assert (acme, globex) == (("acme", "hello"), ("globex", "hello"))
    assert (counted.decisions, counted.flips, counted.allow_to_deny) == (4, 2, 1)


def test_only_so_many_flips_are_kept_and_all_are_counted() -> None:
    replay = Replay(snapshot("{name: no, when: 'true', deny: x}").engine, candidate_of)
    kept = [recorded(n, ALLOWED, "us", "eu") for n in range(9)]
    assert len(replay.over(kept, flips_max=4)) == 4
    assert replay.flips == 9


def test_what_cannot_be_read_or_has_no_model_is_counted_apart() -> None:
    replay = Replay(snapshot().engine, candidate_of)
    damaged = Recorded("r1", "acme", "hello", T0 * NS, b"\xff")
    assert replay.over([damaged, recorded(2, ALLOWED, "gone")], flips_max=9) == []
    assert (replay.decisions, replay.skipped) == (0, 2)


def test_a_model_that_is_gone_is_a_change() -> None:
    replay = Replay(snapshot().engine, candidate_of)
    before = Decision(effect="allow", candidates=("us", "gone"))
    (flip,) = replay.over([recorded(1, before, "us", "gone")], flips_max=9)
    assert flip.changes == ("candidates",)


OUTCOMES = st.builds(
    Outcome,
    denied_by=st.sampled_from([None, ("p", "a"), ("p", "b")]),
    candidates=st.sampled_from([(), ("a",), ("a", "b")]),
    redactions=st.sampled_from([(), (("pan", "label"),)]),
    output_tokens_max=st.integers(0, 1),
    usd_nanos_per_1k_tokens_max=st.integers(0, 1),
)


@given(OUTCOMES, OUTCOMES)
def test_ways_mirror_each_other(before: Outcome, after: Outcome) -> None:
    there, back = changes(before, after), changes(after, before)
    mirrored = {"allow_to_deny": "deny_to_allow", "deny_to_allow": "allow_to_deny"}
    assert [mirrored.get(way, way) for way in there] == list(back)
    assert set(there) <= set(CHANGES)
    if before == after:
        assert there == ()
    elif before.denied_by is None and after.denied_by is None:
        assert there


@pytest.mark.parametrize(
    ("after", "ways"),
    [
        (Decision(effect="allow", candidates=("us",)), ("candidates",)),
        (
            Decision(
                effect="allow",
                candidates=("us", "eu"),
                redactions=(Redaction(data_class="pan", how="label"),),
                output_tokens_max=5,
            ),
            ("redactions", "caps"),
        ),
        (
            Decision(effect="allow", candidates=("us", "eu"), usd_nanos_per_1k_tokens_max=5),
            ("caps",),
        ),
        (Decision(effect="allow", candidates=("us", "eu"), hits=(DENY,)), ()),
    ],
)
def test_each_way_is_named(after: Decision, ways: tuple[str, ...]) -> None:
    assert changes(outcome_of(ALLOWED), outcome_of(after)) == ways
