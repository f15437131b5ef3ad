"""What a replay saw: calls by how they ended, tokens, cost, latencies. Plain sums, no I/O."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from harmost.client import Attempt, Finished

__all__ = ["Cost", "Tally", "quantile"]


@dataclass(slots=True)
class Cost:
    """Sums of one model or tenant. Money in nano-USD."""

    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd_nanos: int = 0

    def add(self, attempt: Attempt) -> None:
        """Add one attempt."""
        self.attempts += 1
        self.input_tokens += attempt.usage.input_tokens
        self.output_tokens += attempt.usage.output_tokens
        self.usd_nanos += attempt.cost_usd_nanos


@dataclass(slots=True)
class Tally:
    """Filled while the replay runs. `attempts` are the ids that any event named."""

    ok: int = 0
    denied: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    cut: Counter[str] = field(default_factory=Counter[str])  # ended, but not by the model
    attempts: set[str] = field(default_factory=set[str])
    by_model: dict[str, Cost] = field(default_factory=dict[str, Cost])
    by_tenant: dict[str, Cost] = field(default_factory=dict[str, Cost])
    total: Cost = field(default_factory=Cost)
    added_ns: list[int] = field(default_factory=list[int])
    lag_ns: list[int] = field(default_factory=list[int])
    wall_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def requests(self) -> int:
        """Calls that ended, however they did."""
        return self.ok + self.denied.total() + self.failed.total()

    def finished(self, tenant: str, finished: Finished) -> None:
        """Count a call that was answered."""
        self.ok += 1
        if finished.finish_reason != "stop":
            self.cut[finished.finish_reason] += 1
        self.added_ns.append(finished.added_ns)
        for attempt in finished.attempts:
            self.attempts.add(attempt.attempt_id)
            for cost in (
                self.by_model.setdefault(attempt.model, Cost()),
                self.by_tenant.setdefault(tenant, Cost()),
                self.total,
            ):
                cost.add(attempt)

    def refused(self, reason: str) -> None:
        """Count a call that ended in an error; a denial is an answer, everything else a failure."""
        denial = reason in ("POLICY_DENIED", "BUDGET_EXHAUSTED", "RATE_LIMITED")
        (self.denied if denial else self.failed)[reason] += 1


def quantile(values: Sequence[int], probability: float) -> int:
    """The value that `probability` of `values` do not exceed; 0 if there are none. O(n log n)."""
    ordered = sorted(values)
    return ordered[round(probability * (len(ordered) - 1))] if ordered else 0
