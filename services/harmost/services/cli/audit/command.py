"""`harmost audit`: prove the log, get its head and receipts, forget an end user, rotate its key."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.cli.audit.verify import said_of, verify
from harmost.services.cli.target import Target
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.core.audit.receipt import Receipt

__all__ = ["app"]

WAIT_S = 10.0

app = typer.Typer(no_args_is_help=True)
app.command("verify")(verify)


@app.callback()
def audit() -> None:
    """Prove what was decided, used and paid, to who trusts nobody here."""


@app.command("checkpoint")
def checkpoint(
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Print the log's signed head: keep one, and `verify --since` shows that the log only grew."""
    from harmost.core.audit.checkpoint import parse_checkpoint
    from harmost.core.audit.note import parse_note
    from harmost.services.cli.output import emit
    from harmost.telemetry.v1 import telemetry_pb2

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("telemetry") as session:
        answer = session.call("GetCheckpoint", telemetry_pb2.GetCheckpointRequest())
    if not as_json:
        sys.stdout.write(answer.note.decode())
        return
    head = parse_checkpoint(parse_note(answer.note).text)
    emit(
        {
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "note": answer.note.decode(),
        }
    )


@app.command("receipt")
def receipt(
    record_id: Annotated[str, typer.Argument(help="The record that `finished` named.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Where to keep it. Default: standard output."
        ),
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Get the proof that a call is in the log: whoever has it and the log's public key can check it
    without asking anyone, with `harmost audit verify`."""
    from harmost.services.cli.output import emit, note

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    answer, parsed = _receipt(target, record_id)
    if out is not None:
        out.write_bytes(answer.proof)
    if as_json:
        emit(
            {
                "record_id": record_id,
                "leaf_index": parsed.leaf_index,
                "entry": said_of(parsed.entry),
                "proof": answer.proof.decode(),
            }
        )
    elif out is None:
        sys.stdout.write(answer.proof.decode())
    else:
        note(f"{out} proves entry {parsed.leaf_index}: `harmost audit verify {out} --key FILE`")


@app.command("show")
def show(
    record_id: Annotated[str, typer.Argument(help="The record that `finished` named.")],
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what the log says of a call, and to operators what its commitments hide."""
    from harmost.core.audit.leaf import Opening, is_opened_by
    from harmost.services.cli.output import emit, safe

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    answer, parsed = _receipt(target, record_id)
    said = said_of(parsed.entry)
    opened = {
        each.field: each.value.decode("utf-8", "replace")
        for each in answer.openings
        if is_opened_by(said, Opening(each.field, each.value, each.nonce))
    }
    nonces = {each.field: each.nonce.hex() for each in answer.openings}
    if as_json:
        emit(
            {
                "leaf_index": parsed.leaf_index,
                "entry": said,
                "opened": {
                    field: {"value": value, "nonce": nonces[field]}
                    for field, value in opened.items()
                },
            }
        )
        return
    print(f"entry {parsed.leaf_index}")
    for name, value in said.items():
        if name != "commitments":
            print(f"  {name:20} {safe(str(value))}")
    for field, commitment in said.get("commitments", {}).items():
        hidden = (
            safe(opened[field]) if field in opened else "not opened: erased, or not for this key"
        )
        print(f"  {field:20} {hidden} ({str(commitment)[:16]}…)")


@app.command("erase")
def erase(
    tenant: Annotated[str, typer.Option("--tenant", help="In its records and those below it.")],
    end_user: Annotated[
        str, typer.Option("--end-user", help="Whom to forget, as callers named it.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="Why, for the log. It must not name the end user.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Forget an end user: records no longer name it, and nothing can open what the log committed to.
    Proofs hold on. It cannot be undone."""
    from harmost.services.cli.output import emit, safe
    from harmost.telemetry.v1 import telemetry_pb2

    if not yes:
        typer.confirm(f"Forget {safe(end_user)} in {safe(tenant)} for good?", abort=True, err=True)
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    request = telemetry_pb2.EraseEndUserRequest(tenant=tenant, end_user_id=end_user, reason=reason)
    with target.session("telemetry") as session:
        answer = session.call("EraseEndUser", request)
    if as_json:
        emit({"records": answer.records, "leaf_index": answer.leaf_index})
    elif not answer.records:
        print("no record names that end user")
    else:
        print(f"{answer.records} records forgot it; entry {answer.leaf_index} tells of it")


@app.command("rotate-key")
def rotate_key(
    finish: Annotated[
        bool, typer.Option("--finish", help="Sign with the new key alone from the next start.")
    ] = False,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Make another key that signs the log, in the data directory of `harmost up`. From its next start
    checkpoints carry both signatures, until `--finish`; what the old one signed stays proven."""
    from harmost.services.cli.output import emit, note
    from harmost.services.operate.audit_keys import VERIFY_KEYS, end_rotation, rotate_audit_key

    public = end_rotation(data) if finish else rotate_audit_key(data)
    if as_json:
        emit({"key": public, "verify": str(data / VERIFY_KEYS)})
        return
    print(public)
    if finish:
        note("start `harmost up` again to sign with it alone")
    else:
        note(f"give auditors {data / VERIFY_KEYS} and start `harmost up` again; then `--finish`")


def _receipt(target: Target, record_id: str) -> "tuple[Any, Receipt]":
    """The answer, waited for where the record is on its way."""
    import time

    from harmost.client.errors import HarmostError
    from harmost.core.audit.receipt import parse_receipt
    from harmost.telemetry.v1 import telemetry_pb2

    request = telemetry_pb2.GetReceiptRequest(record_id=record_id)
    ends = time.monotonic() + WAIT_S
    with target.session("telemetry") as session:
        while True:
            try:
                answer = session.call("GetReceipt", request)
                return answer, parse_receipt(answer.proof)
            except HarmostError as error:
                wait_s = error.retry_after_s if error.reason == "SERVICE_UNAVAILABLE" else None
                if not wait_s or time.monotonic() + wait_s > ends:
                    raise
                time.sleep(wait_s)
