"""What does the audit log cost, off the path of calls, for each record; and does it take every proof?

Back of the envelope: an entry is written as JSON (2 µs), with two to four commitments (1.2 µs each), hashed (0.6 µs), put into tiles
(1 µs) and into two SQLite rows (3 µs); signature, files and syncs are shared by all of half a second.
"""

import base64
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _result import emit
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.leaf import NONCE_BYTES, record_entry
from harmost.core.audit.log_check import check_log
from harmost.core.audit.merkle import EMPTY_ROOT, ProofRefused, check_consistency, check_inclusion
from harmost.core.audit.note import NoteSigner, NoteVerifier
from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.usage import TokenUsage
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage
from harmost.services.telemetry.nonces import NonceStore
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.trail import AuditTrail

DATA = Path(os.environ.get("HARMOST_DATA", Path(__file__).parents[2] / "shared" / "data"))
VECTORS = DATA / "conformance" / "merkle_rfc6962.jsonl"
BATCH = 200  # as Routers ship them
BATCHES = 50
HEAD = 500  # entries of half a second at 1,000 calls a second


def record(number: int) -> RecordSummary:
    """A usual one: a rule that matched, one attempt, an end user and a label."""
    record_id = f"{number:032x}"
    attempt = AttemptSummary(
        attempt_id=f"{record_id}-0",
        model="claude-sonnet",
        provider="anthropic",
        outcome="completed",
        started_at_ns=1_800_000_000_000_000_000,
        usage=TokenUsage(input_tokens=1_200, output_tokens=300),
        cost_usd_nanos=8_100_000,
        region="EEA",
        price_version="list#0a1b2c3d",
    )
    return RecordSummary(
        record_id=record_id,
        tenant="acme/retail/support",
        profile="support-escalation",
        principal="shop",
        router_id="router-1",
        status="completed",
        started_at_ns=1_800_000_000_000_000_000,
        end_user_id=f"user-{number}",
        labels={"channel": "chat"},
        decision=Decision(
            effect="allow",
            hits=(RuleHit(policy="eu-personal-data", rule="no-card-numbers", effect="redact"),),
            candidates=("claude-sonnet", "claude-haiku"),
            snapshot_generation=7,
        ),
        attempts=(attempt,),
        usage=attempt.usage,
        cost_usd_nanos=8_100_000,
        snapshot_digest=b"\x01" * 32,
    )


def timed(name: str, jobs: list[Callable[[], object]], each: int) -> float:
    """CPU of each of `jobs`, which do `each` things: emits median and p99, in us a thing."""
    taken: list[float] = []
    for job in jobs:
        start_ns = time.process_time_ns()
        job()
        taken.append((time.process_time_ns() - start_ns) / each / 1_000)
    median = statistics.median(taken)
    emit(f"{name}.us", median, "us", len(jobs) * each)
    emit(f"{name}.p99_us", statistics.quantiles(taken, n=100)[98], "us", len(jobs) * each)
    return median


def making(records: list[RecordSummary]) -> list[bytes]:
    """An entry out of a record, commitments included."""
    nonce, entries = os.urandom(NONCE_BYTES), list[bytes]()

    def make(part: list[RecordSummary]) -> None:
        entries.extend(
            record_entry(each, nonce=nonce, retention="standard", logged_ns=1) for each in part
        )

    parts = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    timed("audit.entry", [lambda part=part: make(part) for part in parts], BATCH)
    return entries


def storing(folder: Path, records: list[RecordSummary]) -> float:
    """All that the store does for the log: entries, nonces, rows; the two commits included."""
    nonces = NonceStore(folder / "nonces.db")
    trail = AuditTrail(nonces, lambda tenant, profile: "standard")
    store = TelemetryStore(folder / "telemetry.db", trail=trail)
    parts = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    jobs = [
        lambda part=part: store.audited(lambda connection: trail.stored(connection, part))
        for part in parts
    ]
    taken = timed("audit.store", jobs, BATCH)
    store.close()
    nonces.close()
    return taken


def adding(folder: Path, entries: list[bytes], signer: NoteSigner) -> float:
    """Hash, tiles, signature, files and their syncs, a published head for each HEAD entries."""
    log = Sequencer(DirectoryStorage(folder), [signer])
    log.open(size=0, root=EMPTY_ROOT, waiting=[])
    parts = [entries[start : start + HEAD] for start in range(0, len(entries), HEAD)]
    taken = timed(
        "audit.add", [lambda part=part: log.publish(log.add(part)) for part in parts], HEAD
    )
    sizes = range(0, len(entries), len(entries) // 200)
    timed("audit.receipt", [lambda index=index: log.receipt(index) for index in sizes], 1)
    log.close()
    return taken


def checking(folder: Path, signer: NoteSigner) -> None:
    """Proving the log whole, as `harmost audit verify` does."""
    read = DirectoryStorage(folder).read
    note = read("checkpoint") or b""
    head, _ = open_checkpoint(note, [NoteVerifier(signer.vkey)])
    timed("audit.verify", [lambda: check_log(read, head)] * 5, head.size)


def vectors() -> None:
    """The RFC 6962 cases: how many are judged as they should be."""
    if not VECTORS.exists():
        return
    cases = [json.loads(line) for line in VECTORS.read_text().splitlines() if line.strip()]
    passed = sum(_holds(case) is not case["wantErr"] for case in cases)
    emit("audit.vectors.passed", passed, "cases", len(cases))
    emit("audit.vectors.total", len(cases), "cases", len(cases))


def _holds(case: dict[str, Any]) -> bool:
    def decoded(text: str | None) -> bytes:
        return base64.b64decode(text) if text else b""

    proof = [decoded(each) for each in case["proof"] or []]
    try:
        if "leafHash" in case:
            check_inclusion(
                decoded(case["leafHash"]),
                index=case["leafIdx"],
                size=case["treeSize"],
                proof=proof,
                root=decoded(case["root"]),
            )
        else:
            check_consistency(
                case["size1"],
                case["size2"],
                proof=proof,
                root_1=decoded(case["root1"]),
                root_2=decoded(case["root2"]),
            )
    except ProofRefused:
        return False
    return True


def main() -> None:
    """Measure in a directory of its own. `audit.leaf.us` is all that one record costs, storing and adding."""
    records = [record(number) for number in range(BATCH * BATCHES)]
    signer = NoteSigner("example.com/audit", Ed25519PrivateKey.generate())
    with tempfile.TemporaryDirectory() as path:
        entries = making(records)
        stored_us = storing(Path(path), records)
        added_us = adding(Path(path) / "log", entries, signer)
        checking(Path(path) / "log", signer)
    emit("audit.leaf.us", stored_us + added_us, "us", len(records))
    emit("audit.entry.bytes", statistics.median(map(len, entries)), "bytes", len(entries))
    vectors()


if __name__ == "__main__":
    main()
