"""How long does a question about usage take, and how long may it hold up records that come in?

Back of the envelope: SQLite reads and groups some 1 to 2 million narrow rows a second, so 100,000
records take 0.1 s, a join with their attempts or a label for each twice that. A step of forgetting is
to stay near 20 ms: records wait for it.
"""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _result import emit

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import record_to_proto
from harmost.services.telemetry.retention import Retention
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.usage import UsageQuestion
from harmost.telemetry.v1 import telemetry_pb2 as pb

RECORDS = 100_000
BATCH = 1_000
RUNS = 15
STEPS = 100
T0_NS = 1_800_000_000 * 10**9
ALL = UsageQuestion("", 0, 2**63 - 1, ())
QUESTIONS = {
    "all": ALL,
    "tenant_model": ALL._replace(group_by=(pb.GROUP_BY_TENANT, pb.GROUP_BY_MODEL)),
    "level_day": ALL._replace(group_by=(pb.GROUP_BY_TENANT, pb.GROUP_BY_DAY), tenant_levels=1),
    "label": ALL._replace(group_by=(pb.GROUP_BY_LABEL,), label_names=("team",)),
}


def record(number: int) -> pb.Record:
    """One of a call every few seconds for ten days, of 40 tenants and 5 models."""
    usage = TokenUsage(input_tokens=1_200, output_tokens=300)
    started_ns = T0_NS + number * 9 * 10**9
    attempt = AttemptSummary(
        attempt_id=f"{number:032x}-0",
        model=f"model-{number % 5}",
        provider="sandbox",
        outcome="completed",
        started_at_ns=started_ns,
        usage=usage,
        cost_usd_nanos=8_100_000,
    )
    return record_to_proto(
        RecordSummary(
            record_id=f"{number:032x}",
            tenant=f"org-{number % 4}/unit-{number % 40}",
            profile="support",
            principal="app",
            router_id="router-0",
            status="completed",
            started_at_ns=started_ns,
            end_user_id=f"user-{number % 1000}",
            labels={"team": f"team-{number % 20}", "channel": "chat"},
            attempts=(attempt,),
            usage=usage,
            cost_usd_nanos=8_100_000,
        )
    )


def timed(job: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median and 99 of 100 of its CPU time, in milliseconds."""
    took: list[float] = []
    for _ in range(runs):
        began = time.process_time_ns()
        job()
        took.append((time.process_time_ns() - began) / 1e6)
    return statistics.median(took), statistics.quantiles(took, n=100, method="inclusive")[98]


def main() -> None:
    """Fill a store, ask it, make it forget."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "telemetry.db"
        with contextlib.closing(TelemetryStore(path)) as store:
            for start in range(0, RECORDS, BATCH):
                batch = [record(number) for number in range(start, start + BATCH)]
                store.take(pb.ReportRequest(batch=1, records=batch))
            for name, question in QUESTIONS.items():
                p50, p99 = timed(lambda question=question: store.usage(question), RUNS)
                emit(f"telemetry.usage.{name}.p50_ms", p50, "ms", RUNS)
                emit(f"telemetry.usage.{name}.p99_ms", p99, "ms", RUNS)
        few = Retention(usage_max=1, records_max=1, vectors_max=1)
        with contextlib.closing(TelemetryStore(path, retention=few)) as store:
            p50, p99 = timed(lambda: store.prune(T0_NS), STEPS)
            emit("telemetry.prune_step.p50_ms", p50, "ms", STEPS)
            emit("telemetry.prune_step.p99_ms", p99, "ms", STEPS)


if __name__ == "__main__":
    main()
