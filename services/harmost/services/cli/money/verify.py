"""`harmost ledger verify`: prove that a ledger adds up, row by row, and that Routers' journals agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from harmost.services.cli import options
from harmost.services.cli.target import Target
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.core.budget.fold import Finding, LedgerFold
    from harmost.services.operate.ledger_copy import LedgerCopy

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
PROGRESS_ROWS = 10_000


class Proof(NamedTuple):
    """What was added up, and what does not fit. Of the running ledger no journal is read."""

    rows: int
    attempts: int
    usd_nanos: int
    findings: "tuple[Finding, ...]"
    found: int
    journals: int = 0
    owed: int = 0


@app.callback()
def ledger() -> None:
    """Prove what the ledger says."""


@app.command("verify")
def verify(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A data directory that no service uses now, a copy of one, or a ledger's file. "
            "Without it the running Budget service proves its own.",
            show_default=False,
        ),
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Add up every row of a ledger and hold the sums against its balances, holds and leases; of a
    directory also against what Routers' journals say was acknowledged. Ends with 1 where anything
    differs."""
    if path is None:
        _verify_running(
            Target(address=address, key=key, key_file=key_file, data_dir=data), as_json=as_json
        )
    else:
        _verify_copy(path, as_json=as_json)


def _verify_running(target: Target, *, as_json: bool) -> None:
    from rich.progress import Progress

    from harmost.budget.v1 import budget_pb2
    from harmost.core.budget.fold import Finding
    from harmost.core.errors import ServiceUnavailable
    from harmost.services.cli.output import console

    last: Any = None
    with (
        target.session("budget") as session,
        Progress(console=console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("adding up rows", total=None)
        for last in session.stream("VerifyLedger", budget_pb2.VerifyLedgerRequest()):
            progress.update(task, total=last.rows_total, completed=last.rows)
    if last is None or not last.done:
        raise ServiceUnavailable("the proof broke off: try again")
    proof = Proof(
        rows=last.rows,
        attempts=last.attempts,
        usd_nanos=last.usd_nanos,
        findings=tuple(Finding(one.sequence, one.message) for one in last.findings),
        found=last.findings_total,
    )
    _tell(proof, target.endpoint("budget"), as_json=as_json)


def _verify_copy(path: Path, *, as_json: bool) -> None:
    from harmost.core.budget.fold import LedgerFold
    from harmost.services.operate.ledger_copy import LedgerCopy, ledger_at

    fold, owed = LedgerFold(), 0
    with LedgerCopy(ledger_at(path)) as copy:
        _fold(copy, fold)
        journals = [] if path.is_file() else _journals(path)
        for journal in journals:
            owed += _hold_against_journal(journal, copy, fold)
    proof = Proof(
        fold.rows,
        fold.attempts,
        fold.usd_nanos,
        tuple(fold.findings),
        fold.found,
        journals=len(journals),
        owed=owed,
    )
    _tell(proof, str(path), as_json=as_json)


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


def _tell(proof: Proof, where: str, *, as_json: bool) -> None:
    from harmost.services.cli.output import emit, note, safe, usd

    findings = sorted(proof.findings, key=lambda found: (found.sequence == 0, found.sequence))
    if as_json:
        emit(
            {
                "ledger": where,
                "adds_up": not proof.found,
                "rows": proof.rows,
                "attempts_settled": proof.attempts,
                "settled_usd_nanos": proof.usd_nanos,
                "journals": proof.journals,
                "settlements_owed": proof.owed,
                "findings": [found._asdict() for found in findings],
                "findings_total": proof.found,
            }
        )
    else:
        for found in findings:
            print(safe(found.message))
        said = "adds up" if not proof.found else f"does not add up: {proof.found:,} findings"
        note(
            f"`{where}` {said}: {proof.rows:,} rows, {proof.attempts:,} attempts settled for "
            f"{usd(proof.usd_nanos)}"
        )
        if proof.journals:
            note(
                f"{proof.journals} journals compared, {proof.owed:,} settlements are still owed "
                "to the ledger"
            )
    if proof.found:
        raise typer.Exit(1)
