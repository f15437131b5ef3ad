"""`harmost audit verify`: prove a log's copy, or a receipt, with nothing but the log's public key."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options

if TYPE_CHECKING:
    from harmost.core.audit.checkpoint import Checkpoint
    from harmost.core.audit.log_check import LogCheck
    from harmost.core.audit.note import NoteVerifier, Vouched

__all__ = ["keys_of", "said_of", "told_by", "verify"]

KEYS_BYTES_MAX = 64 * 1024


def verify(
    path: Annotated[
        str,
        typer.Argument(
            metavar="DIR|URL|RECEIPT",
            help="A log's folder or a copy of it, where it is in an object store, or a receipt.",
        ),
    ],
    key: Annotated[
        list[str],
        typer.Option(
            "--key",
            metavar="FILE|KEY",
            help="Public keys of the log and of witnesses: a file with one on each line "
            "(`audit-verify.keys`), or one as it stands there; again for more.",
        ),
    ],
    witnesses: Annotated[
        int,
        typer.Option(
            "--witnesses",
            min=0,
            max=8,
            help="How many of the witnesses among the keys must have cosigned.",
        ),
    ] = 0,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A checkpoint of before: prove that the log has only grown since.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Prove a log: its checkpoint's signature, every tile and every entry; or prove a receipt. Asks
    nobody, and needs only the public key. Ends with 1 where anything is not what was signed."""
    verifiers = keys_of(key)
    if Path(path).is_file():
        _verify_receipt(Path(path), verifiers, witnesses, as_json=as_json)
    else:
        _verify_log(path, verifiers, witnesses, since, as_json=as_json)


def keys_of(texts: list[str]) -> "list[NoteVerifier]":
    """The public keys that `texts` name or are."""
    from harmost.core.audit.note import NoteVerifier, read_verifiers

    found: list[NoteVerifier] = []
    for text in texts:
        if Path(text).is_file():
            with Path(text).open(encoding="utf-8", errors="replace") as file:
                found += read_verifiers(file.read(KEYS_BYTES_MAX))
        elif "+" in text:
            found.append(NoteVerifier(text))
        else:
            raise _nothing_at(text, "public key", "give the log's `audit-verify.keys`")
    return found


def told_by(vouched: "tuple[Vouched, ...]") -> str:
    """Who vouches, for people."""
    from datetime import UTC, datetime

    parts = [
        f"{each.name} at {datetime.fromtimestamp(each.time_s, UTC):%Y-%m-%d %H:%M:%S}Z"
        if each.time_s
        else each.name
        for each in vouched
    ]
    return ", ".join(parts)


def said_of(entry: bytes) -> dict[str, Any]:
    """What an entry says, for people and programs."""
    from harmost.core.audit.leaf import read_entry

    return read_entry(entry)


def _verify_log(
    where: str,
    verifiers: "list[NoteVerifier]",
    witnesses: int,
    since: Path | None,
    *,
    as_json: bool,
) -> None:
    from harmost.core.audit.checkpoint import open_checkpoint
    from harmost.core.audit.log_check import check_copies, check_grown, check_log
    from harmost.core.audit.tiles import CHECKPOINT_PATH
    from harmost.services.audit.storage import open_storage
    from harmost.services.cli.output import progress

    if "://" not in where and not Path(where).is_dir():
        raise _nothing_at(where, "log or receipt", "name the folder that `checkpoint` is in")
    storage = open_storage(where)
    note = storage.read(CHECKPOINT_PATH)
    if note is None:
        raise _nothing_at(f"{where}/checkpoint", "checkpoint", "name the folder of an audit log")
    head, vouched = open_checkpoint(note, verifiers)
    _check_witnesses(vouched, witnesses)
    with progress("proving entries") as shown:
        check = check_log(storage.read, head, on_entries=lambda done: shown(done, head.size))
    if "://" not in where:
        check_copies(storage.read, check, _files(Path(where)))
    if since is not None:
        before, _ = open_checkpoint(since.read_bytes(), verifiers)
        check_grown(storage.read, check, before, name=str(since))
    _tell_log(where, check, vouched, as_json=as_json)


def _verify_receipt(
    path: Path, verifiers: "list[NoteVerifier]", witnesses: int, *, as_json: bool
) -> None:
    from harmost.core.audit.receipt import RECEIPT_BYTES_MAX, verify_receipt
    from harmost.services.cli.output import emit, safe

    with path.open("rb") as file:
        verified = verify_receipt(file.read(RECEIPT_BYTES_MAX + 1), verifiers)
    _check_witnesses(verified.vouched, witnesses)
    said = said_of(verified.entry)
    if as_json:
        emit(
            {
                **_head_told(verified.head, verified.vouched),
                "leaf_index": verified.leaf_index,
                "entry": said,
            }
        )
        return
    print(
        f"entry {verified.leaf_index} of {verified.head.size} in {safe(verified.head.origin)}, "
        f"signed by {safe(told_by(verified.vouched))}"
    )
    for name, value in said.items():
        print(f"  {name:20} {safe(str(value))}")


def _check_witnesses(vouched: "tuple[Vouched, ...]", wanted: int) -> None:
    from harmost.core.audit.note import NoteRefused

    count = len({each.name for each in vouched if each.time_s})
    if count < wanted:
        raise NoteRefused(
            f"{count} of the witnesses given cosigned the checkpoint, not {wanted}: give more of "
            "their keys, or wait until they have seen it"
        )


def _tell_log(
    where: str, check: "LogCheck", vouched: "tuple[Vouched, ...]", *, as_json: bool
) -> None:
    from harmost.services.cli.output import emit, note, safe

    if as_json:
        emit(
            {
                "log": where,
                **_head_told(check.head, vouched),
                "holds": not check.found,
                "entries": check.entries,
                "kinds": check.kinds,
                "minimum_index": check.minimum_index,
                "findings": [finding._asdict() for finding in check.findings],
                "found": check.found,
            }
        )
        raise typer.Exit(bool(check.found))
    kinds = ", ".join(f"{count:,} {safe(kind)}" for kind, count in sorted(check.kinds.items()))
    pruned = f"; below {check.minimum_index:,} none is kept" if check.minimum_index else ""
    print(
        f"{safe(check.head.origin)}: {check.entries:,} of {check.head.size:,} entries proven"
        f"{f' ({kinds})' if kinds else ''}{pruned}, signed by {safe(told_by(vouched))}"
    )
    for finding in check.findings:
        print(f"  {safe(finding.message)}")
    if check.found > len(check.findings):
        note(f"and {check.found - len(check.findings)} more")
    if check.found:
        note("the log is not what was signed: the first line says where to look")
    raise typer.Exit(bool(check.found))


def _head_told(head: "Checkpoint", vouched: "tuple[Vouched, ...]") -> dict[str, Any]:
    return {
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "signed_by": [each._asdict() for each in vouched],
    }


def _files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder / "tile"):
        for name in names:
            yield str((Path(root) / name).relative_to(folder))


def _nothing_at(path: str, what: str, hint: str) -> Exception:
    from harmost.core.errors import InvalidInput

    return InvalidInput(f"no {what} at `{path}`: {hint}")
