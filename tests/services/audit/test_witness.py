"""Witnesses cosign what they are shown, and none of them can hold the log up."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from small_log import signer, verifiers
from witness import NAME, WitnessServer

from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.merkle import EMPTY_ROOT
from harmost.core.audit.note import Note, NoteVerifier
from harmost.core.errors import InvalidInput
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage
from harmost.services.audit.witness import Witnesses, witness_of


@pytest.fixture
def sequencer(tmp_path: Path) -> Sequencer:
    log = Sequencer(DirectoryStorage(tmp_path), [signer()])
    log.open(size=0, root=EMPTY_ROOT, waiting=[])
    return log


async def grown(sequencer: Sequencer, witnesses: Witnesses, count: int) -> Note:
    """Add entries and publish the head with what witnesses say of it."""

    async def prove(size_1: int, size_2: int) -> Sequence[bytes]:
        return sequencer.consistency(size_1, size_2)

    note = await witnesses.cosigned(sequencer.add([b"entry"] * count), prove)
    sequencer.publish(note)
    return note


async def test_each_head_carries_the_witness_that_saw_the_log_grow(sequencer: Sequencer) -> None:
    server = WitnessServer(signer().vkey)
    async with server.running(), Witnesses([witness_of(server.spec)]) as witnesses:
        for count in (1, 2, 300, 7):
            note = await grown(sequencer, witnesses, count)
            assert not witnesses.missing(note)
            keys = [*verifiers(), NoteVerifier(server.signer.vkey)]
            _, vouched = open_checkpoint(sequencer.published.note, keys)
            assert [each.name for each in vouched if each.time_s] == [NAME]
    assert server.requests == [(0, 200), (1, 200), (3, 200), (303, 200)]


async def test_a_log_that_starts_again_learns_how_far_the_witness_is(sequencer: Sequencer) -> None:
    server = WitnessServer(signer().vkey)
    async with server.running():
        async with Witnesses([witness_of(server.spec)]) as witnesses:
            await grown(sequencer, witnesses, 5)
        async with Witnesses([witness_of(server.spec)]) as witnesses:
            assert not witnesses.missing(await grown(sequencer, witnesses, 3))
    assert server.requests == [(0, 200), (0, 409), (5, 200)]


@pytest.mark.parametrize("lie", ["down", "other text", "nonsense"])
async def test_a_witness_that_misbehaves_is_left_out_and_asked_again(
    lie: str, sequencer: Sequencer
) -> None:
    server = WitnessServer(signer().vkey)
    async with server.running(), Witnesses([witness_of(server.spec)]) as witnesses:
        server.lie = lie
        note = await grown(sequencer, witnesses, 2)
        assert witnesses.missing(note)
        assert len(note.signatures) == 1
        server.lie = ""
        assert not witnesses.missing(await grown(sequencer, witnesses, 2))


async def test_a_witness_that_does_not_answer_costs_its_time_and_no_more(
    sequencer: Sequencer,
) -> None:
    server = WitnessServer(signer().vkey)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Witnesses([witness_of(server.spec)], answer_s=0.05) as witnesses:
            assert witnesses.missing(await grown(sequencer, witnesses, 2))


async def test_a_witness_that_saw_more_than_there_is_does_not_sign(
    sequencer: Sequencer, caplog: pytest.LogCaptureFixture
) -> None:
    server = WitnessServer(signer().vkey)
    server.seen = (99, bytes(32))
    async with server.running(), Witnesses([witness_of(server.spec)]) as witnesses:
        assert witnesses.missing(await grown(sequencer, witnesses, 2))
    assert "the log was rolled back" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://witness.example", "is no witness"),
        ("", "is no witness"),
        ("nokey@https://witness.example", "is no public key"),
        (f"{signer().vkey}@https://witness.example", "is that of a log, not of a witness"),
    ],
)
def test_what_names_no_witness_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        witness_of(text)
