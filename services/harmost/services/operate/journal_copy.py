"""Reads the journals of a data directory's Routers, or copies of them. Changes nothing.

Says what each closed attempt cost by its Router's own account, and whether the ledger had said that
it knows: what the ledger must then say, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmost.core.audit.framing import HEADER_BYTES, Frame, frames, read_header
from harmost.core.audit.rows import AttemptClosed, SettleAcked, SettlesAcked

__all__ = ["JournalClaims", "claims_of", "journals_at"]

SEGMENT_BYTES_MAX = 1024 * 1024 * 1024  # of one file; a Router's are far below


class Claim(NamedTuple):
    """What a Router says of one attempt. `settles` False: nothing was used."""

    settles: bool
    usd_nanos: int
    tokens: int


class JournalClaims(NamedTuple):
    """Attempts by id: those that the ledger has acknowledged, and those that it is owed."""

    acknowledged: dict[str, Claim]
    owed: dict[str, Claim]
    rows: int


def journals_at(data_dir: Path) -> list[Path]:
    """The journals' directories in a data directory, in order."""
    return sorted(path for path in data_dir.glob("router/*/journal") if path.is_dir())


def claims_of(journal: Path) -> JournalClaims:
    """What one journal says. Raises ServiceUnavailable, naming file and byte, where it is damaged."""
    owed: dict[str, Claim] = {}
    acknowledged: dict[str, Claim] = {}
    rows = 0
    for frame in _frames(journal):
        rows += 1
        row = frame.row
        if isinstance(row, AttemptClosed) and row.resolution != "none":
            attempt = row.attempt
            owed[attempt.attempt_id] = Claim(
                row.resolution == "settle", attempt.cost_usd_nanos, attempt.usage.total_tokens
            )
        elif isinstance(row, SettleAcked | SettlesAcked):
            acked = (row.attempt_id,) if isinstance(row, SettleAcked) else row.attempt_ids
            for attempt_id in acked:
                known = owed.pop(attempt_id, None)
                if known is not None:  # else its end was in a segment that is no longer needed
                    acknowledged[attempt_id] = known
    return JournalClaims(acknowledged, owed, rows)


def _frames(journal: Path) -> Iterator[Frame]:
    for path in sorted(journal.glob("*.journal")):
        with path.open("rb") as file:
            data = file.read(SEGMENT_BYTES_MAX)
        header = read_header(data[:HEADER_BYTES], name=str(path))
        if header is None:
            continue
        yield from frames(
            data[HEADER_BYTES:],
            salt=header.salt,
            sequence=header.first_sequence,
            base=HEADER_BYTES,
            name=str(path),
        )
