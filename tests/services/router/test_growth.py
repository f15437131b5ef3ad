"""A hold that grows as its answer comes, with the real exchange and journal: ahead of it, or a cut."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from attempt_stage import LAST, Stage

from harmost.core.audit.rows import AttemptGrown
from harmost.core.errors import ServiceUnavailable
from harmost.services.journal.journal import Journal
from harmost.services.router.growth import PACE

INPUT = 100
FIRST = INPUT + PACE.piece + PACE.slack
WHOLE = 10_000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncGenerator[Journal]:
    journal = Journal(tmp_path / "journal", "router-0")
    async with journal.running():
        yield journal


def growing(journal: Journal, *, limit_tokens: int = 10**9, room: int = 10**6) -> Stage:
    stage = Stage(journal, output_tokens_max=WHOLE, progressive=True, room=room)
    stage.ledger.limit_tokens = limit_tokens
    return stage


def held_tokens(stage: Stage) -> int:
    held = stage.attempt._holding
    assert held is not None
    assert held.amount.tokens == held.hold.tokens
    return held.hold.tokens


def rows_of(journal: Journal) -> list[AttemptGrown]:
    journal._write()
    rows = (frame.row for frame in journal.reader(after=0).read(1 << 20))
    return [row for row in rows if isinstance(row, AttemptGrown)]


async def test_an_answer_begins_with_its_first_piece_and_is_asked_for_whole(
    journal: Journal,
) -> None:
    stage = growing(journal)
    task = await stage.begun()
    assert held_tokens(stage) == FIRST
    assert stage.attempt.output_tokens_max == WHOLE
    task.cancel()


async def test_what_is_delivered_and_the_slack_is_held_in_the_same_callback(
    journal: Journal,
) -> None:
    stage = growing(journal)
    task = await stage.begun()
    for delivered in range(1, 3_000):
        stage.hear(b"x")
        assert held_tokens(stage) >= INPUT + delivered + PACE.slack
    assert held_tokens(stage) <= INPUT + 3_000 + PACE.slack + PACE.piece
    assert not stage.attempt.exchange.done
    task.cancel()


async def test_many_events_of_one_read_are_held_for_one_by_one(journal: Journal) -> None:
    stage = growing(journal)
    task = await stage.begun()
    stage.hear(*[b"word "] * 1_000)
    assert len(stage.texts) == 1_000
    assert held_tokens(stage) >= INPUT + 5_000 + PACE.slack
    task.cancel()


async def test_where_no_piece_is_to_be_had_the_answer_is_cut_before_the_slack(
    journal: Journal,
) -> None:
    limit = FIRST + 700
    stage = growing(journal, limit_tokens=limit)
    task = await stage.begun()
    stage.hear(*[b"x"] * 3_000)
    await task
    assert stage.attempt.outcome == "budget_cut"
    assert stage.attempt.exchange.finish_reason == "budget_exhausted"
    assert stage.upstream.call.told == ["cancel"]
    assert len(stage.texts) == limit - INPUT - PACE.slack
    summary = await stage.attempt.close()
    assert summary.outcome == "budget_cut"
    assert len(stage.ledger.paid) == 1


async def test_the_journal_knows_of_every_growth_before_the_next_turn(journal: Journal) -> None:
    stage = growing(journal)
    task = await stage.begun()
    stage.hear(*[b"x"] * 2_000)
    rows = rows_of(journal)
    assert rows[-1] == AttemptGrown("m-0", 0, held_tokens(stage))
    assert [row.held_tokens for row in rows] == sorted({row.held_tokens for row in rows})
    assert len(rows) <= 2_000 // (PACE.piece // 2) + 1
    task.cancel()


async def test_a_growth_that_the_journal_does_not_take_cuts_the_answer(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = growing(journal)
    task = await stage.begun()

    def full(row: object) -> int:
        raise ServiceUnavailable("full")

    monkeypatch.setattr(journal, "append", full)
    stage.hear(*[b"x"] * 2_000)
    await task
    assert stage.attempt.outcome == "budget_cut"
    assert len(stage.texts) < PACE.piece


async def test_a_caller_that_does_not_read_has_the_whole_answer_held(journal: Journal) -> None:
    stage = growing(journal, room=2)
    task = await stage.begun()
    stage.hear(b"a", b"b")
    assert stage.upstream.call.told == ["pause"]
    assert held_tokens(stage) == INPUT + WHOLE
    task.cancel()


async def test_where_the_whole_is_not_to_be_had_a_caller_that_does_not_read_is_cut(
    journal: Journal,
) -> None:
    stage = growing(journal, room=2, limit_tokens=INPUT + WHOLE - 1)
    task = await stage.begun()
    stage.hear(b"a", b"b")
    await task
    assert stage.upstream.call.told == ["cancel"]
    assert stage.attempt.outcome == "budget_cut"


async def test_an_answer_that_ends_settles_what_it_used(journal: Journal) -> None:
    stage = growing(journal)
    task = await stage.begun()
    stage.hear(*[b"x"] * 900)
    assert stage.upstream.sink is not None
    stage.upstream.sink.on_data(LAST)
    await task
    held = stage.attempt._holding
    summary = await stage.attempt.close()
    assert held is not None
    assert summary.outcome == "completed"
    with pytest.raises(ValueError, match="closed already"):
        held.hold.void()


async def test_an_answer_that_one_piece_covers_is_held_strictly(journal: Journal) -> None:
    stage = Stage(journal, output_tokens_max=50, progressive=True)
    task = await stage.begun()
    assert held_tokens(stage) == INPUT + 50
    stage.hear(*[b"x"] * 60)
    await task
    assert len(stage.texts) == 50
