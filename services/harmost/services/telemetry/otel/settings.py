"""Where telemetry goes, from the environment variables that OpenTelemetry names, and a few of our own.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. One thing is other than there: without an
endpoint or exporter that is named, nothing is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from harmost.core.errors import InvalidInput
from harmost.core.otel.conventions import CONVENTIONS, Conventions
from harmost.core.otel.sampling import SLOW_S, Sampler, sampler_of

__all__ = ["Endpoint", "OtelSettings", "Protocol", "otel_settings"]

Protocol = Literal["grpc", "http/protobuf"]
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
DEFAULT_ENDPOINTS: Mapping[Protocol, str] = {
    "grpc": "http://localhost:4317",
    "http/protobuf": "http://localhost:4318",
}
TIMEOUT_MS, TIMEOUT_MS_MAX = 10_000, 300_000
METRICS_INTERVAL_MS = 60_000
SPANS_DELAY_MS = 1_000
BATCH_RECORDS, BATCH_RECORDS_MAX = 200, 1_000
# An hour of 280 calls a second; some 1 GB of the records that are kept anyway.
QUEUE_RECORDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One OTLP destination of one signal. `headers` are secrets: never told."""

    protocol: Protocol
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = TIMEOUT_MS / 1000
    gzip: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("https:")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelSettings:
    """What is made and where it goes; None and "": nowhere. Times in seconds."""

    traces: Endpoint | None
    metrics: Endpoint | None
    azure: str = field(repr=False)  # a connection string, with its key
    prometheus: str
    conventions: Conventions
    sampler: Sampler
    resource: tuple[tuple[str, str], ...]
    metrics_interval_s: float
    spans_delay_s: float
    batch_records: int
    queue_records: int


def otel_settings(environment: Mapping[str, str], *, prometheus: str = "") -> OtelSettings:
    """What `environment` says; `prometheus` is where to listen, unless it says otherwise.

    Raises InvalidInput naming the variable that is wrong.
    """
    read = _Reader(environment)
    off = read.text("OTEL_SDK_DISABLED").lower() == "true"
    traces, metrics = read.exporters("traces", off=off), read.exporters("metrics", off=off)
    azure = read.text("APPLICATIONINSIGHTS_CONNECTION_STRING")
    if "azure" in traces and not azure:
        raise InvalidInput(
            "`OTEL_TRACES_EXPORTER` names azure: set `APPLICATIONINSIGHTS_CONNECTION_STRING`, too"
        )
    if "prometheus" in metrics:
        prometheus = prometheus or read.scrape_address()
    return OtelSettings(
        traces=read.endpoint("traces") if "otlp" in traces else None,
        metrics=read.endpoint("metrics") if "otlp" in metrics else None,
        azure=azure if "azure" in traces else "",
        prometheus="" if off else prometheus,
        conventions=read.conventions(),
        sampler=sampler_of(
            read.text("OTEL_TRACES_SAMPLER") or "parentbased_always_on",
            read.text("OTEL_TRACES_SAMPLER_ARG"),
            slow_s=read.number("HARMOST_OTEL_SLOW_S", SLOW_S, least=0.001, most=86_400),
        ),
        resource=read.resource(),
        metrics_interval_s=read.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", METRICS_INTERVAL_MS),
        spans_delay_s=read.milliseconds("OTEL_BSP_SCHEDULE_DELAY", SPANS_DELAY_MS),
        batch_records=int(
            read.number(
                "HARMOST_OTEL_BATCH_RECORDS", BATCH_RECORDS, least=1, most=BATCH_RECORDS_MAX
            )
        ),
        queue_records=int(
            read.number("HARMOST_OTEL_QUEUE_RECORDS", QUEUE_RECORDS, least=1, most=100_000_000)
        ),
    )


class _Reader:
    """Reads variables; an empty one counts as unset, as the specification says."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        text = self.text(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise InvalidInput(f"`{name}` is `{text}`: give a number from {least:g} to {most:g}")
        return value

    def milliseconds(self, name: str, default: int) -> float:
        return self.number(name, default, least=1, most=86_400_000) / 1000

    def exporters(self, signal: str, *, off: bool) -> frozenset[str]:
        name = f"OTEL_{signal.upper()}_EXPORTER"
        known = {"traces": ("otlp", "azure", "none"), "metrics": ("otlp", "prometheus", "none")}
        said = [part.strip() for part in self.text(name).split(",") if part.strip()]
        for each in said:
            if each not in known[signal]:
                raise InvalidInput(
                    f"`{name}` names `{each}`: use {', '.join(known[signal])}, or several"
                )
        if said or off:
            return frozenset[str]() if off else frozenset(said) - {"none"}
        return frozenset({"otlp"}) if self._of(signal, "ENDPOINT") else frozenset()

    def endpoint(self, signal: str) -> Endpoint:
        protocol = self._of(signal, "PROTOCOL") or "grpc"
        if protocol not in PROTOCOLS:
            raise InvalidInput(
                f"OTLP protocol `{protocol}` is not spoken: use {' or '.join(PROTOCOLS)}"
            )
        compression = self._of(signal, "COMPRESSION") or "none"
        if compression not in ("gzip", "none"):
            raise InvalidInput(f"OTLP compression `{compression}` is not known: use gzip or none")
        timeout_ms = self.number(
            "OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT_MS, least=1, most=TIMEOUT_MS_MAX
        )
        return Endpoint(
            protocol=protocol,
            url=self._url(signal, protocol),
            headers=_pairs(self._of(signal, "HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS", secret=True),
            timeout_s=timeout_ms / 1000,
            gzip=compression == "gzip",
            ca=self._file(signal, "CERTIFICATE"),
            certificate=self._file(signal, "CLIENT_CERTIFICATE"),
            key=self._file(signal, "CLIENT_KEY"),
        )

    def conventions(self) -> Conventions:
        said = self.text("HARMOST_OTEL_CONVENTIONS")
        if not said:
            # What instrumentations of other makers read for the same choice.
            opted = self.text("OTEL_SEMCONV_STABILITY_OPT_IN").split(",")
            return "latest" if "gen_ai_latest_experimental" in opted else "v1.41"
        if said not in CONVENTIONS:
            raise InvalidInput(
                f"`HARMOST_OTEL_CONVENTIONS` is `{said}`: use {', '.join(CONVENTIONS)}"
            )
        return said

    def resource(self) -> tuple[tuple[str, str], ...]:
        pairs = dict(_pairs(self.text("OTEL_RESOURCE_ATTRIBUTES"), "OTEL_RESOURCE_ATTRIBUTES"))
        name = self.text("OTEL_SERVICE_NAME") or pairs.get("service.name") or "harmost"
        return tuple(({"service.name": name} | pairs | {"service.name": name}).items())

    def scrape_address(self) -> str:
        host = self.text("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost"
        port = self.number("OTEL_EXPORTER_PROMETHEUS_PORT", 9464, least=0, most=65_535)
        return f"{host}:{port:.0f}"

    def _of(self, signal: str, what: str) -> str:
        of_signal = self.text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
        return of_signal or self.text(f"OTEL_EXPORTER_OTLP_{what}")

    def _file(self, signal: str, what: str) -> Path | None:
        text = self._of(signal, what)
        if not text:
            return None
        if not Path(text).is_file():
            raise InvalidInput(f"no file at `{text}`, that OTLP's {what} names: give a PEM file")
        return Path(text)

    def _url(self, signal: str, protocol: Protocol) -> str:
        url = self.text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        whole = bool(url)
        url = url or self.text("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_ENDPOINTS[protocol]
        if protocol == "grpc" and "://" not in url:
            url = f"http://{url}"
        if not _is_address(url):
            raise InvalidInput(
                "the OTLP endpoint is no address: give one such as http://collector.example:4317, "
                "and what proves who you are in `OTEL_EXPORTER_OTLP_HEADERS`"
            )
        if protocol == "grpc" or whole:
            return url
        return f"{url.rstrip('/')}/v1/{signal}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and parts.username is None and parts.password is None


def _pairs(text: str, name: str, *, secret: bool = False) -> tuple[tuple[str, str], ...]:
    """`key=value,…` as W3C Baggage writes it, percent-decoded."""
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals or not key.isascii():
            told = "a part of it" if secret else f"`{part}`"
            raise InvalidInput(f"`{name}` is not `key=value,…`: correct {told}")
        pairs.append((key.lower() if secret else key, unquote(value)))
    return tuple(pairs)
