"""What an entry says, what it never says, and how its commitments open."""

import hmac
import json

import pytest

from harmost.core.audit.leaf import (
    NONCE_BYTES,
    erased,
    erasure_entry,
    expires_ns,
    is_opened_by,
    openings,
    pruning_entry,
    read_entry,
    record_entry,
)
from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.audit.tiles import ENTRY_BYTES_MAX
from harmost.core.errors import InvalidInput
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.usage import TokenUsage

NONCE = bytes(range(NONCE_BYTES))
PERSONAL = ("anna-müller", "ann@example.com", "crm-bot", "case-4711", "support-app")
DAY_NS = 86_400 * 10**9


def attempt(number: int = 0, **changes: object) -> AttemptSummary:
    fields: dict[str, object] = {
        "attempt_id": f"r1-{number}",
        "model": "gpt-small",
        "provider": "openai",
        "outcome": "completed",
        "started_at_ns": 5,
        "usage": TokenUsage(input_tokens=7, output_tokens=9),
        "cost_usd_nanos": 40,
        "region": "EEA",
        "error": "the vendor said: ann@example.com is unknown",
    }
    return AttemptSummary(**(fields | changes))  # type: ignore[arg-type]


def record(**changes: object) -> RecordSummary:
    hit = RuleHit(policy="eu", rule="no-pan", effect="redact", message="for ann@example.com")
    fields: dict[str, object] = {
        "record_id": "r1",
        "tenant": "acme/retail",
        "profile": "support",
        "principal": "support-app",
        "router_id": "router-0",
        "status": "completed",
        "started_at_ns": 1_800_000_000_000_000_000,
        "agent_id": "crm-bot",
        "end_user_id": "anna-müller",
        "labels": {"ticket": "case-4711", "mail": "ann@example.com"},
        "decision": Decision(
            effect="allow",
            hits=(hit,),
            redactions=(Redaction(data_class="pan", how="label", spans=2),),
            snapshot_generation=12,
        ),
        "attempts": (attempt(),),
        "cost_usd_nanos": 40,
        "snapshot_digest": b"\xab" * 32,
        "journal_sequence": 9,
    }
    return RecordSummary(**(fields | changes))  # type: ignore[arg-type]


def said(**changes: object) -> dict[str, object]:
    return read_entry(
        record_entry(record(**changes), nonce=NONCE, retention="standard", logged_ns=77)
    )


def test_an_entry_says_what_was_decided_used_and_paid() -> None:
    found = said()
    del found["commitments"]
    assert found == {
        "kind": "record",
        "format": 1,
        "record_id": "r1",
        "time_ns": 1_800_000_000_000_000_000,
        "logged_ns": 77,
        "tenant": "acme/retail",
        "profile": "support",
        "router_id": "router-0",
        "journal_sequence": 9,
        "status": "completed",
        "reason": "",
        "effect": "allow",
        "snapshot_generation": 12,
        "snapshot_digest": "ab" * 32,
        "rules": [{"policy": "eu", "rule": "no-pan", "effect": "redact"}],
        "denied_by": "",
        "redactions": ["pan:label:2"],
        "attempts": [
            {
                "attempt_id": "r1-0",
                "model": "gpt-small",
                "provider": "openai",
                "region": "EEA",
                "outcome": "completed",
                "cost_usd_nanos": 40,
                "input_tokens": 7,
                "output_tokens": 9,
            }
        ],
        "cost_usd_nanos": 40,
        "budget_path": ["acme", "acme/retail", "profile:support"],
        "retention": "standard",
        "omitted": {},
    }


def test_nothing_personal_stands_in_an_entry() -> None:
    entry = record_entry(record(), nonce=NONCE, retention="standard", logged_ns=1)
    text = entry.decode() + json.dumps(json.loads(entry))
    assert [word for word in PERSONAL if word in text or json.dumps(word)[1:-1] in text] == []


def test_commitments_open_with_their_value_and_nonce_alone() -> None:
    entry = said()
    opened = {each.field: each for each in openings(record(), NONCE)}
    assert set(opened) == {"agent_id", "end_user_id", "labels", "principal"}
    assert opened["end_user_id"].value == "anna-müller".encode()
    assert opened["labels"].value == b'{"mail":"ann@example.com","ticket":"case-4711"}'
    for field, opening in opened.items():
        assert is_opened_by(entry, opening)
        assert not is_opened_by(entry, opening._replace(value=opening.value + b"x"))
        assert not is_opened_by(entry, opening._replace(nonce=bytes(32)))
        commitments = entry["commitments"]
        assert isinstance(commitments, dict)
        assert commitments[field] == hmac.digest(opening.nonce, opening.value, "sha256").hex()
    assert len({opening.nonce for opening in opened.values()}) == 4


def test_what_is_empty_has_no_commitment() -> None:
    assert said(agent_id="", end_user_id="", labels={})["commitments"].keys() == {"principal"}  # type: ignore[attr-defined]


def test_erasing_leaves_the_caller_provable_and_the_end_user_not() -> None:
    left = openings(record(), erased(NONCE))
    assert [each.field for each in left] == ["agent_id", "principal"]
    assert all(is_opened_by(said(), each) for each in left)


def test_the_same_record_under_two_nonces_shares_no_commitment() -> None:
    other = record_entry(record(), nonce=bytes(reversed(NONCE)), retention="standard", logged_ns=77)
    mine, theirs = said()["commitments"], read_entry(other)["commitments"]
    assert isinstance(mine, dict)
    assert not set(mine.values()) & set(theirs.values())


def test_a_record_of_a_great_many_rules_and_attempts_still_fits() -> None:
    hits = tuple(
        RuleHit(policy="p" * 100, rule=f"rule-{n}" + "x" * 90, effect="deny") for n in range(5_000)
    )
    attempts = tuple(attempt(n, model="m" * 200, provider="p" * 200) for n in range(256))
    entry = record_entry(
        record(decision=Decision(effect="deny", hits=hits, denied_by=hits[0]), attempts=attempts),
        nonce=NONCE,
        retention="long",
        logged_ns=1,
    )
    assert len(entry) <= ENTRY_BYTES_MAX
    found = read_entry(entry)
    left_out = 5_000 - len(found["rules"])
    assert found["omitted"]["rules"].startswith(f"{left_out} of 5000, sha256 of all ")
    assert 0 < len(found["attempts"]) < 256
    assert found["omitted"]["attempts"].startswith(f"{256 - len(found['attempts'])} of 256")


def test_a_record_that_fits_in_no_entry_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is too long"):
        record_entry(record(reason="x" * 70_000), nonce=NONCE, retention="short", logged_ns=1)


def test_a_mission_that_died_before_its_decision_has_an_entry() -> None:
    found = said(decision=None, attempts=(), status="interrupted")
    assert (found["effect"], found["snapshot_generation"], found["rules"]) == ("", 0, [])


@pytest.mark.parametrize(("retention", "days"), [("short", 90), ("standard", 400), ("long", 2588)])
def test_retention_counts_by_the_clock_of_the_log(retention: str, days: int) -> None:
    # A Router's clock that is wrong by decades changes nothing.
    entry = record_entry(
        record(started_at_ns=9 * 10**18),
        nonce=NONCE,
        retention=retention,
        logged_ns=1_000,  # type: ignore[arg-type]
    )
    assert expires_ns(read_entry(entry)) == 1_000 + days * DAY_NS


def test_an_erasure_tells_of_no_one() -> None:
    entry = erasure_entry(time_ns=5, tenant="acme", author="ops", reason="art. 17", leaves=[1, 2])
    found = read_entry(entry)
    assert (found["kind"], found["count"], found["leaves"]) == ("erasure", 2, [1, 2])
    assert expires_ns(found) == 5


def test_an_erasure_of_very_many_fits() -> None:
    leaves = list(range(10**12, 10**12 + 20_000))
    entry = erasure_entry(
        time_ns=5, tenant="t" * 256, author="a" * 128, reason="r" * 256, leaves=leaves
    )
    assert len(entry) <= ENTRY_BYTES_MAX
    assert read_entry(entry)["count"] == 20_000


@pytest.mark.parametrize("entry", [b"", b"[]", b"{}", b'{"kind": "other"}', b"\xff", b"nul"])
def test_what_is_no_entry_is_refused(entry: bytes) -> None:
    with pytest.raises(InvalidInput, match="no entry of an audit log"):
        read_entry(entry)


def test_a_pruning_says_from_where_on_entries_are_kept() -> None:
    assert read_entry(pruning_entry(time_ns=1, minimum_index=512))["minimum_index"] == 512
