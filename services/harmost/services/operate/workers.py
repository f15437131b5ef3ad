"""How the Router's workers are doing: each asked at its own address, rates from two answers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harmost.client.errors import HarmostError, Unreachable
from harmost.core.stats.histogram import difference, percentile_ns
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.operate.session import Session

__all__ = ["ProviderLimits", "Worker", "Workers", "worker_of"]

TIMEOUT_S = 2.0
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimits:
    """What is left of a provider's limits for one model, as a worker heard it last; None: not told."""

    provider: str
    region: str
    vendor_model_id: str
    requests_left: int | None
    tokens_left: int | None
    rest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker between two answers. `error`: why it did not give the second; then all else is 0."""

    address: str
    error: str = ""
    router_id: str = ""
    pid: int = 0
    uptime_s: int = 0
    calls_live: int = 0
    calls_per_s: float = 0.0
    failed_per_s: float = 0.0
    tokens_per_s: float = 0.0
    added_p99_ns: int = 0
    attempts_held: int = 0
    held_usd_nanos: int = 0
    settlements_owed: int = 0
    journal_bytes: int = 0
    snapshot_generation: int = 0
    provider_limits: tuple[ProviderLimits, ...] = ()


def worker_of(
    address: str,
    before: router_pb2.GetStatsResponse | None,
    now: router_pb2.GetStatsResponse,
) -> Worker:
    """What two answers tell. Without the first, or of another process, rates are since the start."""
    if before is None or before.pid != now.pid or before.uptime_ns >= now.uptime_ns:
        before = router_pb2.GetStatsResponse(added_histogram=[0] * len(now.added_histogram))
    took_s = max(now.uptime_ns - before.uptime_ns, 1) / NS_PER_S
    between = difference(now.added_histogram, before.added_histogram)
    return Worker(
        address=address,
        router_id=now.router_id,
        pid=now.pid,
        uptime_s=now.uptime_ns // NS_PER_S,
        calls_live=now.calls_live,
        calls_per_s=round((now.calls - before.calls) / took_s, 1),
        failed_per_s=round((now.calls_failed - before.calls_failed) / took_s, 1),
        tokens_per_s=round((now.deltas - before.deltas) / took_s, 1),
        added_p99_ns=percentile_ns(between, 990),
        attempts_held=now.attempts_held,
        held_usd_nanos=now.held_usd_nanos,
        settlements_owed=now.settlements_owed,
        journal_bytes=now.journal_bytes,
        snapshot_generation=now.snapshot_generation,
        provider_limits=tuple(map(_limits, now.provider_limits)),
    )


def _limits(told: router_pb2.ProviderLimits) -> ProviderLimits:
    return ProviderLimits(
        provider=told.provider,
        region=told.region,
        vendor_model_id=told.vendor_model_id,
        requests_left=told.requests_left if told.HasField("requests_left") else None,
        tokens_left=told.tokens_left if told.HasField("tokens_left") else None,
        rest_s=told.rest_ns / NS_PER_S,
    )


class Workers:
    """Sessions with all of them. A worker that does not answer is a row, not an error."""

    def __init__(self, addresses: Sequence[str], *, key: str, tls_ca: Path | None) -> None:
        self._stack = ExitStack()
        stub = router_pb2_grpc.RouterServiceStub
        self._sessions = [
            self._stack.enter_context(Session(address, stub, key=key, tls_ca=tls_ca))
            for address in addresses
        ]
        self._threads = self._stack.enter_context(ThreadPoolExecutor(len(self._sessions)))
        self._before: dict[str, router_pb2.GetStatsResponse] = {}

    def read(self) -> list[Worker]:
        """Every worker since the last reading. Blocks for up to two seconds.

        Raises the `HarmostError` of a worker that answers with a refusal: the key is at fault.
        """
        return list(self._threads.map(self._read, self._sessions))

    def runs(self, record_id: str) -> bool | None:
        """Whether one of them runs a mission; None where not all can be asked. Two seconds at the most."""
        request = router_pb2.GetStatsRequest(record_id=record_id)

        def asked(session: Session) -> bool | None:
            try:
                answer = session.call("GetStats", request, timeout_s=TIMEOUT_S)
            except HarmostError:
                return None
            return bool(answer.runs_record)

        found = set(self._threads.map(asked, self._sessions))
        return True if True in found else None if None in found else False

    def _read(self, session: Session) -> Worker:
        try:
            now = session.call("GetStats", router_pb2.GetStatsRequest(), timeout_s=TIMEOUT_S)
        except Unreachable as error:
            return Worker(address=session.address, error=error.message)
        except HarmostError as error:
            if error.reason not in ("DEADLINE_EXCEEDED", "SERVICE_UNAVAILABLE"):
                raise
            return Worker(address=session.address, error=error.message)
        before = self._before.get(session.address)
        self._before[session.address] = now
        return worker_of(session.address, before, now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
