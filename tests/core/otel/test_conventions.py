"""Names and types of attributes and metrics, against what is published."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from otel_published import LATEST_ATTRIBUTES, LATEST_METRICS

from harmost.core.otel.conventions import ATTRIBUTES, CONVENTIONS, names
from harmost.core.otel.instruments import INSTRUMENTS, instrument_names, prometheus_name

DOCS = Path(__file__).parents[3] / "docs" / "telemetry.md"
OURS = "harmost."
PACKAGES = ("gen_ai", "rpc", "server", "error", "otel")


def published_v1_41(part: str) -> set[str]:
    """Every string that a module of the package of v1.41 gives a name to."""
    found: set[str] = set()
    for path in (
        "opentelemetry.semconv._incubating.attributes.{}_attributes",
        "opentelemetry.semconv.attributes.{}_attributes",
        "opentelemetry.semconv._incubating.metrics.{}_metrics",
    ):
        try:
            module: Any = importlib.import_module(path.format(part))
        except ModuleNotFoundError:
            continue
        found |= {value for value in vars(module).values() if isinstance(value, str)}
    return found


V1_41 = set().union(*map(published_v1_41, PACKAGES))


@pytest.mark.parametrize("key", ATTRIBUTES)
def test_an_attribute_is_named_as_v1_41_names_it_or_is_ours(key: str) -> None:
    name = ATTRIBUTES[key].v1_41
    only_latest = name == "gen_ai.token.modality"  # of metrics that v1.41 does not have
    # Not in the package: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute
    overflow = name == "otel.metric.overflow"
    assert name.startswith(OURS) or name in V1_41 or only_latest or overflow


@pytest.mark.parametrize("key", ATTRIBUTES)
def test_an_attribute_is_named_and_typed_as_the_latest_conventions_say_or_is_ours(key: str) -> None:
    attribute = ATTRIBUTES[key]
    if attribute.latest.startswith(OURS):
        return
    if attribute.latest == "gen_ai.token.type":  # of a metric that the latest do not have
        return
    assert LATEST_ATTRIBUTES[attribute.latest] == attribute.type


@pytest.mark.parametrize("key", INSTRUMENTS)
def test_a_metric_is_named_as_published_or_is_ours(key: str) -> None:
    instrument = INSTRUMENTS[key]
    for name, published in ((instrument.v1_41, V1_41), (instrument.latest, LATEST_METRICS)):
        assert not name or name.startswith(OURS) or name in published


@pytest.mark.parametrize("key", [key for key, each in INSTRUMENTS.items() if each.latest])
def test_a_metric_has_the_kind_and_unit_of_the_latest_conventions(key: str) -> None:
    instrument = INSTRUMENTS[key]
    if not instrument.latest.startswith(OURS):
        assert LATEST_METRICS[instrument.latest] == (instrument.kind, instrument.unit)


def test_dup_gives_both_names_and_the_others_one() -> None:
    old, new = "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_write.input_tokens"
    assert [names("cache_write", each) for each in CONVENTIONS] == [(old,), (new,), (old, new)]
    assert [names("profile", each) for each in CONVENTIONS] == [("harmost.profile",)] * 3


def test_a_metric_of_one_generation_alone_is_missing_in_the_other() -> None:
    assert instrument_names("client_tokens", "latest") == ()
    assert instrument_names("usage_input", "v1.41") == ()
    assert len(instrument_names("client_duration", "dup")) == 2


def test_labels_are_attributes_and_none_says_who_called_or_what() -> None:
    unbounded = {"tenant", "principal", "agent", "attempt_id", "record_id", "response_id"}
    for instrument in INSTRUMENTS.values():
        assert set(instrument.labels) <= ATTRIBUTES.keys()
        assert not unbounded & set(instrument.labels)


def test_no_two_metrics_share_a_name_in_prometheus() -> None:
    told = [
        prometheus_name(name, INSTRUMENTS[key])
        for key in INSTRUMENTS
        for name in instrument_names(key, "dup")
    ]
    assert len(set(told)) == len(told)


def test_the_documentation_has_every_attribute_and_metric_as_it_is() -> None:
    text = DOCS.read_text()
    for attribute in ATTRIBUTES.values():
        names_told = f"`{attribute.v1_41}`"
        if attribute.v1_41 != attribute.latest:
            names_told = f"`{attribute.v1_41}` (v1.41), `{attribute.latest}` (latest)"
        assert f"| {names_told} | {attribute.type} | {attribute.about} |" in text
    for instrument in INSTRUMENTS.values():
        labels = ", ".join(f"`{ATTRIBUTES[key].latest}`" for key in instrument.labels)
        assert f"| {instrument.kind} | {labels} | {instrument.about} |" in text
        for name in filter(None, (instrument.v1_41, instrument.latest)):
            assert f"`{name}`" in text
            assert f"`{prometheus_name(name, instrument)}`" in text
