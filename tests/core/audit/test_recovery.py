"""Facts about what a journal owes after any prefix of its rows."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmost.core.audit.recovery import OpenMission, Owed, Unsettled, interrupted_record
from harmost.core.audit.rows import (
    AttemptClosed,
    AttemptGrown,
    AttemptOpened,
    MissionOpened,
    MissionRecorded,
    Outcome,
    OutcomeReported,
    Row,
    SettleAcked,
    SettlesAcked,
    Shipped,
)


def fold(rows: list[Row]) -> Owed:
    owed = Owed()
    for sequence, row in enumerate(rows, 1):
        owed.apply(sequence, row)
    return owed


def test_each_prefix_of_a_call_owes_what_is_not_done(call: Any) -> None:
    rows = call("a").rows()
    owed = [fold(rows[:n]) for n in range(len(rows) + 1)]
    found = [item.recovered(next_sequence=1) for item in owed]
    assert [len(item.open_missions) for item in found] == [0, 1, 1, 1, 1, 0, 0]
    assert [len(item.open_attempts) for item in found] == [0, 0, 1, 0, 0, 0, 0]
    assert [len(item.unsettled) for item in found] == [0, 0, 0, 1, 0, 0, 0]
    assert [item.shippable_sequence for item in found] == [0, 0, 0, 0, 0, 5, 5]
    assert [item.oldest_sequence() for item in owed] == [None, 1, 1, 1, 1, 1, None]


def test_an_open_mission_remembers_its_attempts_that_ended(call: Any) -> None:
    one = call("a")
    found = fold(one.rows()[:3]).recovered(next_sequence=4)
    assert found.open_missions == (OpenMission(one.opened, (one.summary,)),)


def test_an_attempt_that_held_nothing_owes_nothing(call: Any) -> None:
    one = call("a")
    row = AttemptClosed(record_id="a", attempt=one.summary, resolution="none")
    assert fold([one.opened, one.attempt_opened, row]).recovered(next_sequence=1).unsettled == ()


def test_an_attempt_that_ended_keeps_what_was_reserved_until_it_has_settled(call: Any) -> None:
    one = call("a")
    owed = fold(one.rows()[1:3])
    (found,) = owed.recovered(next_sequence=3).unsettled
    assert found == Unsettled(one.attempt_closed, one.attempt_opened)
    assert owed.oldest_sequence() == 1


def test_an_open_attempt_holds_what_was_said_last(call: Any) -> None:
    one = call("a")
    grown = AttemptGrown(one.attempt_opened.attempt_id, 700, 70)
    rows: list[Row] = [one.opened, one.attempt_opened, grown]
    owed = fold(rows)
    (row,) = owed.recovered(next_sequence=4).open_attempts
    assert (row.held_usd_nanos, row.held_tokens) == (700, 70)
    assert row.counters == one.attempt_opened.counters
    owed.apply(4, one.attempt_closed)
    assert owed.recovered(next_sequence=5).unsettled == (Unsettled(one.attempt_closed, row),)
    assert fold([grown]).recovered(next_sequence=2).open_attempts == ()


def test_settlements_are_acknowledged_together(call: Any) -> None:
    rows = [row for name in "abc" for row in call(name).rows()[1:3]]
    owed = fold([*rows, SettlesAcked(attempt_ids=("a-0", "c-0", "gone"))])
    left = owed.recovered(next_sequence=8).unsettled
    assert [one.closed.attempt.attempt_id for one in left] == ["b-0"]


def test_a_denied_mission_needs_no_opening(call: Any) -> None:
    owed = fold([call("a").closed])
    assert owed.shippable_sequence == 1
    assert owed.oldest_sequence() == 1


def test_rows_about_what_is_gone_owe_nothing(call: Any) -> None:
    one = call("a")
    assert fold([one.settled, Shipped(sequence=9)]).oldest_sequence() is None


def test_an_outcome_waits_to_be_shipped() -> None:
    outcome = Outcome(name="thumbs", score_permille=1, reported_at_ns=1)
    owed = fold([Shipped(sequence=0), OutcomeReported(record_id="a", outcome=outcome)])
    assert owed.oldest_sequence() == 1
    owed.apply(3, Shipped(sequence=2))
    assert owed.oldest_sequence() is None


def test_an_interrupted_record_ends_with_its_last_attempt(call: Any) -> None:
    one = call("a")
    record = interrupted_record(one.opened, (one.summary,))
    assert record.status == "interrupted"
    assert (record.cost_usd_nanos, record.usage.total_tokens) == (40, 7)
    assert (record.total_ns, record.first_token_ns) == (300, 150)
    assert record.labels == {"team": "a"}


def test_an_interrupted_record_without_attempts_took_no_time(call: Any) -> None:
    record = interrupted_record(call("a").opened, ())
    assert (record.total_ns, record.first_token_ns, record.cost_usd_nanos) == (0, 0, 0)


@st.composite
def interleaved(draw: Any) -> list[tuple[int, int]]:
    """(call, next row of it), in any order that keeps each call's own."""
    calls = draw(st.integers(1, 4))
    picks = draw(st.lists(st.integers(0, calls - 1), max_size=5 * calls))
    done = [0] * calls
    steps = []
    for pick in picks:
        if done[pick] < 5:
            steps.append((pick, done[pick]))
            done[pick] += 1
    return steps


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=interleaved())
def test_the_fold_equals_its_slow_twin(call: Any, steps: list[tuple[int, int]]) -> None:
    rows: list[Row] = [call(str(pick)).rows()[step] for pick, step in steps]
    assert fold(rows).oldest_sequence() == _oldest_slowly(rows)


def _oldest_slowly(rows: list[Row]) -> int | None:
    def ended(row: Row) -> bool:
        match row:
            case MissionOpened():
                return any(
                    isinstance(r, MissionRecorded) and r.record_id == row.record_id for r in rows
                )
            case AttemptOpened():  # what was reserved is told with the settlement
                return SettleAcked(attempt_id=row.attempt_id) in rows
            case AttemptClosed():
                return SettleAcked(attempt_id=row.attempt.attempt_id) in rows
            case _:
                return True

    needed = [n for n, row in enumerate(rows, 1) if not ended(row)]
    if any(isinstance(row, MissionRecorded) for row in rows):
        needed.append(1)  # nothing is shipped
    return min(needed, default=None)
