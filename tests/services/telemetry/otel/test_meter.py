"""What a meter counts of records, how it is bounded, and how OTLP and Prometheus read it."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from effort import effort
from otlp_receiver import attributes_of
from prometheus_client.parser import text_string_to_metric_families

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.otel.conventions import ATTRIBUTES, CONVENTIONS, Conventions
from harmost.core.otel.instruments import INSTRUMENTS, instrument_names, prometheus_name
from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.core.usage import TokenUsage
from harmost.services.convert.record import record_to_proto
from harmost.services.telemetry.otel.meter import OVERFLOW, Histogram, Meter
from harmost.services.telemetry.otel.otel import resource_of
from harmost.services.telemetry.otel.shown import otlp_request, prometheus_text
from harmost.services.telemetry.otel.vendors import Vendors
from harmost.telemetry.v1 import telemetry_pb2

NOW_NS = 1_800_000_000_000_000_000
S = 1_000_000_000
MakeRecord = Callable[..., telemetry_pb2.Record]


def call(**more: Any) -> telemetry_pb2.Record:
    """A call that hopped once, was redacted, and took two seconds."""
    usage = TokenUsage(
        input_tokens=100, cached_input_tokens=60, output_tokens=11, audio_input_tokens=7
    )
    hit = RuleHit(policy="privacy", rule="cards", effect="redact", mode="warn")
    failed, answered = (
        AttemptSummary(
            attempt_id=f"r-{number}",
            model=f"m{number}",
            provider="p",
            outcome=outcome,
            started_at_ns=NOW_NS,
            total_ns=S,
            usage=used,
            cost_usd_nanos=cost,
            first_token_ns=first_ns,
        )
        for number, outcome, used, cost, first_ns in (
            (0, "throttled", TokenUsage(), 0, 0),
            (1, "completed", usage, 305, S // 2),
        )
    )
    fields: dict[str, Any] = {
        "record_id": "r",
        "tenant": "acme",
        "profile": "hello",
        "principal": "app",
        "router_id": "router-0",
        "status": "completed",
        "started_at_ns": NOW_NS - 2 * S,
        "decision": Decision(
            effect="allow",
            hits=(hit,),
            redactions=(Redaction(data_class="pan", how="label", spans=3),),
        ),
        "attempts": (failed, answered),
        "usage": usage,
        "cost_usd_nanos": 305,
        "total_ns": 2 * S,
        "first_token_ns": S,
        "added_ns": 6_000_000,
    }
    return record_to_proto(RecordSummary(**(fields | more)))


def measured(*records: telemetry_pb2.Record) -> dict[str, Any]:
    meter = Meter(Vendors())
    for record in records:
        meter.take(record, now_ns=NOW_NS)
    return {series.key: series.points for series in meter.series() if series.points}


def test_a_call_is_counted_by_profile_status_and_reason() -> None:
    denied = call(status="budget_denied", reason="BUDGET_EXHAUSTED", attempts=())
    points = measured(call(), call(), denied)["calls"]
    assert points == {
        ("hello", "completed", ""): 2,
        ("hello", "budget_denied", "BUDGET_EXHAUSTED"): 1,
    }


def test_what_was_decided_is_counted_by_rule_and_class() -> None:
    points = measured(call())
    assert points["decisions"] == {("hello", "allow"): 1}
    assert points["rules"] == {("privacy/cards", "redact", "warn"): 1}
    assert points["redactions"] == {("pan",): 3}


def test_attempts_hops_tokens_and_cost_are_counted_by_model() -> None:
    points = measured(call())
    assert points["attempts"] == {("m0", "p", "throttled"): 1, ("m1", "p", "completed"): 1}
    assert points["hops"] == {("m0", "m1", "throttled"): 1}
    assert points["tokens"] == {
        ("hello", "m1", "input"): 100,
        ("hello", "m1", "cached_input"): 60,
        ("hello", "m1", "output"): 11,
        ("hello", "m1", "audio_input"): 7,
    }
    assert points["cost"] == {("hello", "m1"): 305}


def expected(estimated: int, counted: int, *, exact: bool = True) -> dict[str, Any]:
    """What is measured of an attempt whose input was expected to be `estimated`."""
    attempt = AttemptSummary(
        attempt_id="r-0",
        model="m",
        provider="p",
        outcome="completed",
        started_at_ns=NOW_NS,
        total_ns=S,
        usage=TokenUsage(input_tokens=counted, output_tokens=1, exact=exact),
        cost_usd_nanos=0,
        first_token_ns=1,
        estimated_input_tokens=estimated,
    )
    return dict(measured(call(attempts=(attempt,))).get("estimate_error", {}))


@pytest.mark.parametrize(
    ("estimated", "counted", "millionths"),
    [
        (100, 100, 0),
        (83, 100, 170_000),
        (117, 100, 170_000),
        (300, 100, 2_000_000),
        (1, 3, 666_666),
    ],
)
def test_how_far_an_estimate_is_off_is_a_share_of_what_was_counted(
    estimated: int, counted: int, millionths: int
) -> None:
    point = expected(estimated, counted)["hello", "m"]
    assert point.sum == millionths
    bounds = INSTRUMENTS["estimate_error"].bounds
    (bucket,) = (at for at, count in enumerate(point.counts) if count)
    assert bucket == sum(bound * 1_000_000 < millionths for bound in bounds)


def test_an_estimate_is_not_held_against_another_estimate_or_against_nothing() -> None:
    assert expected(83, 100, exact=False) == {}
    assert expected(0, 100) == {}
    assert expected(83, 0) == {}


def test_time_per_output_token_is_of_those_after_the_first() -> None:
    point = measured(call())["server_per_token"][("chat", "p", "m1")]
    assert point.sum == S // 10


def test_a_call_that_asked_no_model_is_no_operation_of_one() -> None:
    points = measured(call(status="policy_denied", reason="POLICY_DENIED", attempts=()))
    assert "server_duration" not in points
    assert "calls" in points


def test_usage_is_parted_by_modality_and_unknown_where_none_came() -> None:
    points = measured(call())["usage_input"]
    assert points == {
        ("chat", "p", "m0", "", 0, "unknown"): 0,
        ("chat", "p", "m1", "", 0, "text"): 93,
        ("chat", "p", "m1", "", 0, "audio"): 7,
    }


def test_a_router_whose_clock_is_ahead_is_named_with_by_how_much() -> None:
    ahead = call(started_at_ns=NOW_NS + 60 * S, total_ns=0, router_id="router-1")
    points = measured(call(), ahead)["clock_ahead"]
    assert points == {("router-0",): 0, ("router-1",): 60}


def test_label_sets_beyond_the_bound_are_summed_in_one() -> None:
    meter = Meter(Vendors(), series_max=3)
    for number in range(10):
        meter.take(call(profile=f"profile-{number}"), now_ns=NOW_NS)
    for series in meter.series():
        assert len(series.points) <= 4
        if series.key == "calls":
            assert series.points[OVERFLOW] == 7
        if series.key == "call_duration":
            overflow = series.points[OVERFLOW]
            assert isinstance(overflow, Histogram)
            assert sum(overflow.counts) == 7
    text = prometheus_text(meter, "v1.41").decode()
    assert 'harmost_calls_total{otel_metric_overflow="true"} 7.0' in text


def test_a_histogram_counts_as_its_slow_twin_does() -> None:
    chance = random.Random(1)
    bounds = INSTRUMENTS["call_duration"].bounds
    for _ in range(effort(20, ci=100, nightly=1_000)):
        meter = Meter(Vendors())
        exact = [round(bound * S) for bound in bounds]
        values = [chance.choice([chance.randrange(200 * S), *exact]) for _ in range(50)]
        for value in values:
            meter.observe("call_duration", ("p", "s"), value)
        point = next(s for s in meter.series() if s.key == "call_duration").points["p", "s"]
        assert isinstance(point, Histogram)
        twin = Counter(
            next((i for i, bound in enumerate(exact) if value <= bound), len(exact))
            for value in values
        )
        assert point.counts == [twin[i] for i in range(len(exact) + 1)]
        assert point.sum == sum(values)


@pytest.mark.parametrize("conventions", CONVENTIONS)
def test_otlp_has_every_metric_by_its_names_labels_and_kind(conventions: Conventions) -> None:
    meter = filled()
    request = otlp_request(
        meter, resource_of([("service.name", "x")]), conventions=conventions, began_ns=1, now_ns=2
    )
    metrics = {each.name: each for each in request.resource_metrics[0].scope_metrics[0].metrics}
    wanted = {name: key for key in INSTRUMENTS for name in instrument_names(key, conventions)}
    assert metrics.keys() == wanted.keys()
    for name, metric in metrics.items():
        instrument = INSTRUMENTS[wanted[name]]
        kind = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}[instrument.kind]
        assert metric.WhichOneof("data") == kind
        assert metric.unit == instrument.unit
        allowed = {ATTRIBUTES[key].latest for key in instrument.labels}
        for point in getattr(metric, kind).data_points:
            assert attributes_of(point).keys() <= allowed
            assert point.time_unix_nano == 2
            if kind != "gauge":
                assert point.start_time_unix_nano == 1
            if kind == "histogram":
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
                assert sum(point.bucket_counts) == point.count


def test_money_is_told_in_dollars_and_time_in_seconds() -> None:
    meter = Meter(Vendors())
    meter.take(call(), now_ns=NOW_NS)
    request = otlp_request(meter, resource_of([]), conventions="v1.41", began_ns=1, now_ns=2)
    metrics = {each.name: each for each in request.resource_metrics[0].scope_metrics[0].metrics}
    assert metrics["harmost.cost"].sum.data_points[0].as_double == 305e-9
    assert metrics["harmost.call.duration"].histogram.data_points[0].sum == 2.0
    assert metrics["harmost.calls"].sum.data_points[0].as_int == 1


@pytest.mark.parametrize("conventions", CONVENTIONS)
def test_prometheus_reads_every_metric(conventions: Conventions) -> None:
    text = prometheus_text(filled(), conventions).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for key, instrument in INSTRUMENTS.items():
        for name in instrument_names(key, conventions):
            family = families[prometheus_name(name, instrument).removesuffix("_total")]
            assert family.type == instrument.kind
            if instrument.kind == "histogram":
                first = family.samples[: len(instrument.bounds) + 1]
                counts = [sample.value for sample in first]
                assert counts == sorted(counts)
                assert family.samples[len(instrument.bounds)].labels["le"] == "+Inf"
                assert not any(math.isnan(sample.value) for sample in family.samples)


def test_what_a_label_says_cannot_forge_another_line() -> None:
    meter = Meter(Vendors())
    meter.count("calls", ('a"} 99\nharmost_calls_total{x="', "completed", ""))
    families = list(text_string_to_metric_families(prometheus_text(meter, "v1.41").decode()))
    assert [len(family.samples) for family in families] == [1]


def filled() -> Meter:
    """A meter with a point of every instrument."""
    meter = Meter(Vendors())
    meter.take(call(), now_ns=NOW_NS)
    for key, instrument in INSTRUMENTS.items():
        labels = tuple("x" for _ in instrument.labels)
        if instrument.kind == "counter":
            meter.count(key, labels)
        elif instrument.kind == "gauge":
            meter.level(key, labels, 1.5)
        else:
            meter.observe(key, labels, 5)
    return meter
