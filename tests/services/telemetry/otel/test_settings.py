"""What the environment says of where telemetry goes; what is wrong is named."""

from pathlib import Path

import pytest

from harmost.core.errors import InvalidInput
from harmost.services.telemetry.otel.settings import otel_settings

E = "OTEL_EXPORTER_OTLP_"
HERE = "http://127.0.0.1:4317"


def test_nothing_is_sent_where_nothing_is_said() -> None:
    said = otel_settings({})
    assert (said.traces, said.metrics, said.azure, said.prometheus) == (None, None, "", "")
    assert said.conventions == "v1.41"


def test_an_endpoint_is_enough_for_traces_and_metrics() -> None:
    said = otel_settings({f"{E}ENDPOINT": HERE})
    assert said.traces is not None
    assert said.metrics is not None
    assert (said.traces.url, said.traces.protocol, said.traces.secure) == (HERE, "grpc", False)


def test_http_adds_the_path_of_its_signal_to_the_common_endpoint_alone() -> None:
    said = otel_settings(
        {
            f"{E}ENDPOINT": "https://collector.example/otel/",
            f"{E}PROTOCOL": "http/protobuf",
            f"{E}METRICS_ENDPOINT": "https://metrics.example/take",
        }
    )
    assert said.traces is not None
    assert said.metrics is not None
    assert said.traces.url == "https://collector.example/otel/v1/traces"
    assert said.metrics.url == "https://metrics.example/take"
    assert said.traces.secure


def test_what_is_said_of_one_signal_goes_before_what_is_said_of_all() -> None:
    said = otel_settings(
        {
            f"{E}ENDPOINT": HERE,
            f"{E}HEADERS": "api-key=all",
            f"{E}TRACES_HEADERS": "Api-Key=of%20traces,x=1",
            f"{E}TRACES_COMPRESSION": "gzip",
            f"{E}TIMEOUT": "2500",
        }
    )
    assert said.traces is not None
    assert said.metrics is not None
    assert said.traces.headers == (("api-key", "of traces"), ("x", "1"))
    assert said.metrics.headers == (("api-key", "all"),)
    assert (said.traces.gzip, said.metrics.gzip, said.traces.timeout_s) == (True, False, 2.5)


def test_exporters_are_chosen_by_name() -> None:
    said = otel_settings({f"{E}ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none"})
    assert said.traces is None
    assert said.metrics is not None
    said = otel_settings({"OTEL_METRICS_EXPORTER": "otlp,prometheus"})
    assert said.metrics is not None
    assert (said.metrics.url, said.prometheus) == ("http://localhost:4317", "localhost:9464")


def test_off_is_off() -> None:
    said = otel_settings(
        {f"{E}ENDPOINT": HERE, "OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "prometheus"},
        prometheus="127.0.0.1:1",
    )
    assert (said.traces, said.metrics, said.prometheus) == (None, None, "")


def test_where_to_be_scraped_may_be_said_by_flag() -> None:
    assert otel_settings({}, prometheus="127.0.0.1:9999").prometheus == "127.0.0.1:9999"


def test_conventions_are_chosen_by_our_variable_or_the_common_one() -> None:
    opted = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http,gen_ai_latest_experimental"}
    assert otel_settings(opted).conventions == "latest"
    assert otel_settings({**opted, "HARMOST_OTEL_CONVENTIONS": "dup"}).conventions == "dup"


def test_the_resource_has_a_name_and_what_is_said() -> None:
    said = otel_settings({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,a=b%2Cc"})
    assert dict(said.resource) == {
        "service.name": "harmost",
        "deployment.environment.name": "prod",
        "a": "b,c",
    }
    named = {"OTEL_SERVICE_NAME": "x", "OTEL_RESOURCE_ATTRIBUTES": "service.name=y"}
    assert dict(otel_settings(named).resource) == {"service.name": "x"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (f"{E}ENDPOINT", "ftp://x", "no address"),
        (f"{E}ENDPOINT", "http://", "no address"),
        (f"{E}ENDPOINT", "http://x:99999", "no address"),
        (f"{E}ENDPOINT", "http://me:hunter2@x", "no address"),
        (f"{E}PROTOCOL", "http/json", "http/json"),
        (f"{E}COMPRESSION", "zstd", "zstd"),
        (f"{E}TIMEOUT", "soon", "OTEL_EXPORTER_OTLP_TIMEOUT"),
        (f"{E}HEADERS", "hunter2", "OTEL_EXPORTER_OTLP_HEADERS"),
        (f"{E}CERTIFICATE", "/none.pem", "/none.pem"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "azure", "azure"),
        ("OTEL_TRACES_SAMPLER", "xray", "xray"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "OTEL_METRIC_EXPORT_INTERVAL"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "`a`"),
        ("HARMOST_OTEL_CONVENTIONS", "v2", "v2"),
        ("HARMOST_OTEL_QUEUE_RECORDS", "nan", "HARMOST_OTEL_QUEUE_RECORDS"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is(name: str, value: str, told: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        otel_settings({f"{E}ENDPOINT": HERE, name: value})
    assert told in raised.value.message
    assert "hunter2" not in raised.value.message


def test_azure_needs_to_be_told_where() -> None:
    with pytest.raises(InvalidInput, match="APPLICATIONINSIGHTS_CONNECTION_STRING"):
        otel_settings({"OTEL_TRACES_EXPORTER": "azure"})
    where = "InstrumentationKey=00000000-0000-0000-0000-000000000000"
    said = otel_settings(
        {"OTEL_TRACES_EXPORTER": "azure", "APPLICATIONINSIGHTS_CONNECTION_STRING": where}
    )
    assert said.azure == where
    assert where not in repr(said)


def test_certificates_are_files_that_exist(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    said = otel_settings({f"{E}ENDPOINT": HERE, f"{E}CERTIFICATE": str(tmp_path / "ca.pem")})
    assert said.traces is not None
    assert said.traces.ca == tmp_path / "ca.pem"
