"""Counts what records tell, metric by metric; says nothing about how that is shown.

Label sets are bounded: beyond SERIES_MAX of a metric all is summed in one overflow series, as OpenTelemetry
asks for. Money is counted in nanodollars and durations in nanoseconds: sums are exact.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harmost.common.v1 import attempt_pb2, decision_pb2, usage_pb2
from harmost.core.otel.instruments import INSTRUMENTS, Instrument
from harmost.services.convert.times import time_from_proto
from harmost.services.telemetry.otel.outcomes import (
    OUTCOME_NAMES,
    STATUS_NAMES,
    error_type,
    is_sent,
    moves,
    operation,
)
from harmost.services.telemetry.otel.vendors import Vendor, Vendors
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["OVERFLOW", "SERIES_MAX", "Histogram", "Labels", "Meter", "Series"]

SERIES_MAX = 2_000  # of one metric, as OTEL's default limit
NS_PER_S = 1_000_000_000
PPM = 1_000_000  # shares are counted in millionths
_UNITS_OF: Mapping[str, int] = {"s": NS_PER_S, "USD": NS_PER_S, "1": PPM}

Labels = tuple[str | int, ...]
OVERFLOW: Labels = ()  # no instrument whose series are counted is without labels

_EFFECTS = {
    number: name.removeprefix("EFFECT_").lower() for name, number in decision_pb2.Effect.items()
}
_MODES = {
    number: (name.removeprefix("MODE_").lower() if number else "enforce")
    for name, number in decision_pb2.Mode.items()
}
_CLASSES = (
    ("input", "input_tokens"),
    ("cached_input", "cached_input_tokens"),
    ("cache_write_5m", "cache_write_5m_input_tokens"),
    ("cache_write_1h", "cache_write_1h_input_tokens"),
    ("output", "output_tokens"),
    ("reasoning", "reasoning_output_tokens"),
    ("audio_input", "audio_input_tokens"),
    ("audio_output", "audio_output_tokens"),
)


class Histogram:
    """Counts by bucket, one more than there are bounds, and the sum of all, in whole units."""

    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0


class Series(NamedTuple):
    """One metric as of now: by labels, a count or level in its unit, or a histogram.

    `per_unit` is how many of what was counted are one of the metric's unit.
    """

    key: str
    instrument: Instrument
    per_unit: int
    points: Mapping[Labels, int | float | Histogram]


class Meter:
    """Counts since it was made."""

    def __init__(self, vendors: Vendors, *, series_max: int = SERIES_MAX) -> None:
        self._vendors = vendors
        self._series_max = series_max
        self._counters: dict[str, dict[Labels, int]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._bounds = {
            key: [round(bound * _UNITS_OF.get(each.unit, 1)) for bound in each.bounds]
            for key, each in INSTRUMENTS.items()
        }

    def take(self, record: telemetry_pb2.Record, *, now_ns: int) -> None:
        """Count `record`, which came at `now_ns`. O(attempts + rules)."""
        self._take_call(record)
        if record.HasField("decision"):
            self._take_decision(record)
        for attempt in record.attempts:
            labels = (attempt.model, attempt.provider, OUTCOME_NAMES[attempt.outcome])
            self.count("attempts", labels)
            if is_sent(attempt):
                self._take_attempt(record, attempt)
        for one, other in moves(record):
            self.count("hops", (one.model, other.model, OUTCOME_NAMES[one.outcome]))
        self._take_clock(record, now_ns)

    def count(self, key: str, labels: Labels, amount: int = 1) -> None:
        """Add `amount` to a counter."""
        points = self._counters.setdefault(key, {})
        if labels not in points and len(points) >= self._series_max:
            labels = OVERFLOW
        points[labels] = points.get(labels, 0) + amount

    def total(self, key: str, labels: Labels, amount: int) -> None:
        """Set a counter that is counted elsewhere; it never falls."""
        self._counters.setdefault(key, {})[labels] = amount

    def observe(self, key: str, labels: Labels, value: int) -> None:
        """Add `value`, in nanoseconds, tokens or millionths, to a histogram."""
        points = self._histograms.setdefault(key, {})
        if labels not in points and len(points) >= self._series_max:
            labels = OVERFLOW
        point = points.get(labels)
        if point is None:
            point = points[labels] = Histogram(len(self._bounds[key]) + 1)
        point.counts[bisect_left(self._bounds[key], value)] += 1
        point.sum += value

    def level(self, key: str, labels: Labels, value: float) -> None:
        """Set a gauge, in its own unit. Beyond the bound of its labels nothing is set."""
        points = self._gauges.setdefault(key, {})
        if labels in points or len(points) < self._series_max:
            points[labels] = value

    def forget(self, *keys: str) -> None:
        """Let levels go that are to be set anew: what they were about may be gone."""
        for key in keys:
            self._gauges.pop(key, None)

    def series(self) -> Iterator[Series]:
        """Everything as of now, in the order of INSTRUMENTS. Read it before the next record."""
        for key, instrument in INSTRUMENTS.items():
            per_unit = _UNITS_OF.get(instrument.unit, 1)
            if instrument.kind == "counter":
                yield Series(key, instrument, per_unit, self._counters.get(key, {}))
            elif instrument.kind == "histogram":
                yield Series(key, instrument, per_unit, self._histograms.get(key, {}))
            else:
                yield Series(key, instrument, 1, self._gauges.get(key, {}))

    def _take_call(self, record: telemetry_pb2.Record) -> None:
        profile, status = record.profile, STATUS_NAMES[record.status]
        self.count("calls", (profile, status, record.reason))
        self.observe("call_duration", (profile, status), record.total_ns)
        if record.first_token_ns:
            self.observe("call_first_token", (profile,), record.first_token_ns)
            self.observe("call_added", (profile,), record.added_ns)
        sent = [attempt for attempt in record.attempts if is_sent(attempt)]
        if not sent:  # no model was asked: it is no GenAI operation
            return
        server = (operation(record), self._vendor(sent[-1]).name, _model(sent[-1]))
        self.observe("server_duration", (*server, error_type(record)), record.total_ns)
        if record.status != telemetry_pb2.RECORD_STATUS_COMPLETED or not record.first_token_ns:
            return
        self.observe("server_first_token", server, record.first_token_ns)
        more_tokens = record.usage.output_tokens - 1
        if more_tokens > 0:
            after_first_ns = max(0, record.total_ns - record.first_token_ns)
            self.observe("server_per_token", server, after_first_ns // more_tokens)

    def _take_decision(self, record: telemetry_pb2.Record) -> None:
        decision = record.decision
        self.count("decisions", (record.profile, _EFFECTS[decision.effect]))
        for hit in decision.rules:
            rule = f"{hit.policy}/{hit.rule}"
            self.count("rules", (rule, _EFFECTS[hit.effect], _MODES[hit.mode]))
        for redaction in decision.redactions:
            self.count("redactions", (redaction.data_class,), redaction.spans)

    def _take_attempt(self, record: telemetry_pb2.Record, attempt: attempt_pb2.Attempt) -> None:
        usage, failure = attempt.usage, error_type(attempt)
        vendor = self._vendor(attempt)
        client = (operation(record), vendor.name, _model(attempt), vendor.address, vendor.port)
        self.observe("client_duration", (*client, failure), attempt.total_ns)
        if attempt.first_token_ns:
            self.observe("client_first_chunk", client, attempt.first_token_ns)
        if usage.input_tokens or usage.output_tokens:
            self.observe("client_tokens", (*client, "input"), usage.input_tokens)
            self.observe("client_tokens", (*client, "output"), usage.output_tokens)
        self.observe("client_input", (*client, failure), usage.input_tokens)
        self.observe("client_output", (*client, failure), usage.output_tokens)
        self._take_usage(client, usage)
        for name, field in _CLASSES:
            if tokens := getattr(usage, field):
                self.count("tokens", (record.profile, attempt.model, name), tokens)
        counted = usage.source == usage_pb2.USAGE_SOURCE_PROVIDER and usage.input_tokens
        if counted and attempt.estimated_input_tokens:
            off = abs(attempt.estimated_input_tokens - usage.input_tokens)
            labels = (record.profile, attempt.model)
            self.observe("estimate_error", labels, off * PPM // usage.input_tokens)
        if attempt.cost_usd_nanos:
            self.count("cost", (record.profile, attempt.model), attempt.cost_usd_nanos)

    def _take_usage(self, client: Labels, usage: usage_pb2.TokenUsage) -> None:
        if not usage.input_tokens and not usage.output_tokens:
            self.count("usage_input", (*client, "unknown"), 0)
            self.count("usage_output", (*client, "unknown"), 0)
            return
        text, audio = (*client, "text"), (*client, "audio")
        self.count("usage_input", text, usage.input_tokens - usage.audio_input_tokens)
        self.count("usage_output", text, usage.output_tokens - usage.audio_output_tokens)
        if usage.audio_input_tokens:
            self.count("usage_input", audio, usage.audio_input_tokens)
        if usage.audio_output_tokens:
            self.count("usage_output", audio, usage.audio_output_tokens)
        written = usage.cache_write_5m_input_tokens + usage.cache_write_1h_input_tokens
        for key, tokens in (
            ("usage_cache_read", usage.cached_input_tokens),
            ("usage_cache_write", written),
            ("usage_reasoning", usage.reasoning_output_tokens),
        ):
            if tokens:
                self.count(key, text, tokens)

    def _take_clock(self, record: telemetry_pb2.Record, now_ns: int) -> None:
        self.count("records", (record.router_id,))
        ended_ns = time_from_proto(record.started_at) + record.total_ns
        ahead_s = max(0, ended_ns - now_ns) / NS_PER_S
        self.level("clock_ahead", (record.router_id,), ahead_s)

    def _vendor(self, attempt: attempt_pb2.Attempt) -> Vendor:
        return self._vendors.of(attempt.provider, attempt.region)


def _model(attempt: attempt_pb2.Attempt) -> str:
    return attempt.vendor_model_id or attempt.model
