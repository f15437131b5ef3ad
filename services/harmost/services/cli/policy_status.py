"""`harmost policy status|history|rollback|rotate-key`: which documents run, where, since when."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["history", "rollback", "rotate_key", "status"]

COMMIT_CHARS = 12


def status(
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Show what runs: generation, commit, signing key, and which service took or refused it."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit, safe, table
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        found = session.call("GetStatus", policy_pb2.GetStatusRequest())
    if as_json:
        emit({**plain(found), "digest": found.digest.hex()})
        return
    runs = found.generation
    print(
        f"generation {runs.generation}, {_when(runs.published_at)} by {safe(runs.author) or '?'}\n"
        f"commit     {safe(runs.source_revision) or 'not known'}\n"
        f"signed by  {found.key_id or 'no key'}\n"
        f"etag       {found.etag}\n"
        f"kills      {found.revocations_sequence} changes so far: see `harmost policy kills`"
    )
    now = datetime.now(UTC)
    table(
        ("watcher", "since", "state", "runs", "kills"),
        (
            (
                watcher.watcher_id,
                _when(watcher.connected_at),
                _state(watcher, runs.generation, now),
                str(watcher.generation),
                str(watcher.revocations_sequence),
            )
            for watcher in found.watchers
        ),
        right=2,
    )


def history(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At the most so many.")] = 20,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List the generations that `rollback` can reach, newest first."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit, table
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        request = policy_pb2.ListGenerationsRequest(page_size=limit)
        found = session.call("ListGenerations", request).generations
    if as_json:
        emit([plain(each) for each in found])
        return
    table(
        ("generation", "published", "by", "commit", "what", "changed", "removed"),
        (
            (
                str(each.generation),
                _when(each.published_at),
                each.author,
                each.source_revision[:COMMIT_CHARS] + _mark(each.source_revision),
                f"back to {each.rolled_back_to}" if each.rolled_back_to else "",
                str(each.changed),
                str(each.removed),
            )
            for each in found
        ),
        right=2,
    )


def rollback(
    generation: Annotated[int, typer.Argument(min=1, help="See `harmost policy history`.")],
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Publish an older generation's documents again, under a new, higher number."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        answer = session.call("Rollback", policy_pb2.RollbackRequest(generation=generation))
    if as_json:
        emit(plain(answer))
    else:
        print(f"generation {answer.generation} runs what generation {generation} held")


def rotate_key(
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Make another key that signs snapshots, in the data directory of `harmost up`.

    Watchers take what the old one signed too. The Policy service signs with the new one from its
    next start; then the old one can be cut out of policy-verify.pem.
    """
    from harmost.core.errors import InvalidInput
    from harmost.services.cli.output import emit, note
    from harmost.services.operate.policy_keys import SIGNING_KEY, VERIFY_KEYS, rotate_policy_key

    if not data.is_dir():
        raise InvalidInput(f"no data directory at `{data}`: give `--data DIR`")
    key_id = rotate_policy_key(data)
    if as_json:
        emit(
            {
                "key_id": key_id,
                "signing": str(data / SIGNING_KEY),
                "verify": str(data / VERIFY_KEYS),
            }
        )
        return
    print(f"key {key_id} is in {data / SIGNING_KEY}")
    note(f"{VERIFY_KEYS} holds it too; start `harmost up` again to sign with it")


def _state(watcher: Any, running: int, now: datetime) -> str:
    if watcher.nack:
        return f"refused {watcher.sent_generation}: {watcher.nack}"
    if watcher.generation == running:
        return "runs it"
    sent = watcher.sent_at.ToDatetime(UTC)
    if watcher.sent_generation and watcher.answered_at.ToDatetime(UTC) < sent:
        return f"no answer to {watcher.sent_generation} for {(now - sent).total_seconds():.0f} s"
    return "not yet"


def _mark(revision: str) -> str:
    """What stands behind a commit that is cut short."""
    rest = revision[COMMIT_CHARS:].lstrip("0123456789abcdef")
    return rest if rest.startswith(("-", "+")) else ""


def _when(time: Any) -> str:
    if not time.seconds:
        return "never"
    return str(time.ToDatetime().isoformat(sep=" ", timespec="seconds"))
