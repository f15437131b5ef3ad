"""A meter's series, as OTLP and as Prometheus reads them."""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family

from harmost.core.otel.conventions import ATTRIBUTES, SCHEMA_URLS, Conventions
from harmost.core.otel.instruments import instrument_names, prometheus_name
from harmost.services.telemetry.otel.meter import OVERFLOW, Histogram, Labels, Meter, Series

__all__ = ["otlp_request", "prometheus_text"]

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_OVERFLOW_NAME = ATTRIBUTES["overflow"].latest


def otlp_request(
    meter: Meter, resource: Resource, *, conventions: Conventions, began_ns: int, now_ns: int
) -> ExportMetricsServiceRequest:
    """Every series of `meter`, counted from `began_ns` on."""
    request = ExportMetricsServiceRequest()
    told = request.resource_metrics.add(resource=resource)
    scope = told.scope_metrics.add(schema_url=SCHEMA_URLS[conventions])
    scope.scope.name = "harmost"
    for series in meter.series():
        for name in instrument_names(series.key, conventions) if series.points else ():
            metric = scope.metrics.add(
                name=name, description=series.instrument.about, unit=series.instrument.unit
            )
            _put_points(metric, series, began_ns, now_ns)
    return request


def _put_points(metric: Metric, series: Series, began_ns: int, now_ns: int) -> None:
    kind = series.instrument.kind
    if kind == "counter":
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = _CUMULATIVE
    elif kind == "histogram":
        metric.histogram.aggregation_temporality = _CUMULATIVE
    for labels, value in series.points.items():
        if isinstance(value, Histogram):
            histogram = metric.histogram.data_points.add(
                start_time_unix_nano=began_ns,
                time_unix_nano=now_ns,
                count=sum(value.counts),
                sum=value.sum / series.per_unit,
                bucket_counts=value.counts,
                explicit_bounds=series.instrument.bounds,
            )
            _put_labels(histogram, series, labels)
            continue
        points = metric.gauge.data_points if kind == "gauge" else metric.sum.data_points
        point = points.add(time_unix_nano=now_ns)
        if kind == "counter":
            point.start_time_unix_nano = began_ns
        if series.per_unit == 1 and isinstance(value, int):
            point.as_int = value
        else:
            point.as_double = value / series.per_unit
        _put_labels(point, series, labels)


def _put_labels(point: Any, series: Series, labels: Labels) -> None:
    for name, value in _labels(series, labels):
        said = point.attributes.add(key=name).value
        if isinstance(value, bool):
            said.bool_value = value
        elif isinstance(value, int):
            said.int_value = value
        else:
            said.string_value = value


def _labels(series: Series, labels: Labels) -> Iterator[tuple[str, str | int]]:
    """Names and values; an absent one is left out."""
    if labels == OVERFLOW and series.instrument.labels:
        yield _OVERFLOW_NAME, True
        return
    for key, value in zip(series.instrument.labels, labels, strict=True):
        if value:
            # No label is named otherwise in the two generations: a test holds that.
            yield ATTRIBUTES[key].latest, value


class _Collector:
    """What prometheus_client asks for its families."""

    def __init__(self, meter: Meter, conventions: Conventions) -> None:
        self._meter = meter
        self._conventions: Conventions = conventions

    def collect(self) -> Iterator[Family]:
        for series in self._meter.series():
            for name in instrument_names(series.key, self._conventions) if series.points else ():
                yield _family(name, series)


def prometheus_text(meter: Meter, conventions: Conventions) -> bytes:
    """Every series of `meter` in the text format that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(meter, conventions))
    return generate_latest(registry)


def _family(name: str, series: Series) -> Family:
    instrument = series.instrument
    full = prometheus_name(name, instrument)
    family = Family(full.removesuffix("_total"), instrument.about, instrument.kind)
    for labels, value in series.points.items():
        said = {key.replace(".", "_"): _text(told) for key, told in _labels(series, labels)}
        if not isinstance(value, Histogram):
            family.add_sample(full, said, value / series.per_unit)
            continue
        running = 0
        for bound, count in zip((*instrument.bounds, float("inf")), value.counts, strict=True):
            running += count
            le = "+Inf" if bound == float("inf") else repr(float(bound))
            family.add_sample(f"{full}_bucket", {**said, "le": le}, running)
        family.add_sample(f"{full}_sum", said, value.sum / series.per_unit)
        family.add_sample(f"{full}_count", said, running)
    return family


def _text(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
