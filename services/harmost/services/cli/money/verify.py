"""`harmost ledger verify`: prove that a ledger adds up, row by row, and that Routers' journals agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options

if TYPE_CHECKING:
    from harmost.core.budget.fold import LedgerFold
    from harmost.services.operate.ledger_copy import LedgerCopy

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
PROGRESS_ROWS = 10_000


@app.callback()
def ledger() -> None:
    """Prove what the ledger says."""


@app.command("verify")
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            help="A data directory that no service uses now, a copy of one, or a ledger's file."
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Add up every row of a ledger and hold the sums against its balances, holds and leases, and
    against what Routers' journals say was acknowledged. Ends with 1 where anything differs."""
    from harmost.core.budget.fold import LedgerFold
    from harmost.services.operate.ledger_copy import LedgerCopy, ledger_at

    fold, owed = LedgerFold(), 0
    with LedgerCopy(ledger_at(path)) as copy:
        _fold(copy, fold)
        journals = [] if path.is_file() else _journals(path)
        for journal in journals:
            owed += _hold_against_journal(journal, copy, fold)
    _tell(fold, str(path), journals=len(journals), owed=owed, as_json=as_json)


def _fold(copy: "LedgerCopy", fold: "LedgerFold") -> None:
    for row in _watched(copy):
        fold.add(row)
    for sequence, attempt_id in copy.closed_twice():
        fold.tell(sequence, f"row {sequence} closes attempt `{attempt_id}` again")
    fold.close(copy.balances(), copy.holds(), copy.lent())


def _watched(copy: "LedgerCopy") -> Iterator[Any]:
    """The rows, with a bar on standard error while they are read."""
    from rich.progress import Progress

    from harmost.services.cli.output import console

    with Progress(console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("adding up rows", total=copy.rows_total)
        for number, row in enumerate(copy.rows(), 1):
            yield row
            if number % PROGRESS_ROWS == 0:
                progress.update(task, completed=number)


def _journals(path: Path) -> list[Path]:
    from harmost.services.operate.journal_copy import journals_at

    return journals_at(path)


def _hold_against_journal(journal: Path, copy: "LedgerCopy", fold: "LedgerFold") -> int:
    """Compare what the ledger has acknowledged; how much it is still owed."""
    from harmost.services.operate.journal_copy import claims_of

    claims = claims_of(journal)
    for attempt_id, claim in claims.acknowledged.items():
        found = copy.settled(attempt_id)
        if not claim.settles:
            if found is not None:
                fold.tell(0, f"attempt `{attempt_id}` used nothing by `{journal}` and is settled")
            continue
        if found is None:
            fold.tell(
                0, f"attempt `{attempt_id}` of `{journal}` was acknowledged and is not settled"
            )
            continue
        usd_nanos, tokens, price_unknown = found
        if tokens != claim.tokens or (usd_nanos != claim.usd_nanos and not price_unknown):
            fold.tell(
                0,
                f"attempt `{attempt_id}` cost {claim.usd_nanos} nanodollars for {claim.tokens} tokens "
                f"by `{journal}` and {usd_nanos} for {tokens} by the ledger",
            )
    return len(claims.owed)


def _tell(fold: "LedgerFold", where: str, *, journals: int, owed: int, as_json: bool) -> None:
    from harmost.services.cli.output import emit, note, safe, usd

    findings = sorted(fold.findings, key=lambda found: (found.sequence == 0, found.sequence))
    if as_json:
        emit(
            {
                "ledger": where,
                "adds_up": not fold.found,
                "rows": fold.rows,
                "attempts_settled": fold.attempts,
                "settled_usd_nanos": fold.usd_nanos,
                "journals": journals,
                "settlements_owed": owed,
                "findings": [found._asdict() for found in findings],
                "findings_total": fold.found,
            }
        )
    else:
        for found in findings:
            print(safe(found.message))
        said = "adds up" if not fold.found else f"does not add up: {fold.found:,} findings"
        note(
            f"`{where}` {said}: {fold.rows:,} rows, {fold.attempts:,} attempts settled for "
            f"{usd(fold.usd_nanos)}; {journals} journals agree on what was acknowledged, "
            f"{owed:,} settlements are still owed"
        )
    if fold.found:
        raise typer.Exit(1)
