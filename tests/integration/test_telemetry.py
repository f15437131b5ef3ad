"""A whole mesh tells an OTLP receiver and Prometheus of its calls."""

import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mesh import Mesh, eventually, running_mesh
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_receiver import OtlpReceiver, attributes_of, receiving
from prometheus_client.parser import text_string_to_metric_families

from harmost.router.v1 import router_pb2

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def there() -> Iterator[OtlpReceiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def mesh(there: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.grpc_url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        patch.setenv("HARMOST_OTEL_CONVENTIONS", "dup")
        with running_mesh(tmp_path_factory.mktemp("telemetry") / "data") as running:
            yield running


def stream(mesh: Mesh, profile: str, text: str, *metadata: tuple[str, str]) -> str:
    """The id of the call's record; "" where it has none."""
    request = router_pb2.StreamChatRequest(profile=profile)
    request.messages.add(role=router_pb2.MESSAGE_ROLE_USER).parts.add(text=text)
    call = mesh.router().StreamChat(request, metadata=(*mesh.metadata, *metadata))
    return next(each.started.record_id for each in list(call) if each.HasField("started"))


def spans_of(there: OtlpReceiver, record_id: str) -> list[Span]:
    """The spans of a record, once they are there."""

    def found() -> list[Span]:
        calls = [
            span
            for span in there.spans
            if attributes_of(span).get("harmost.record.id") == record_id
        ]
        return [span for span in there.spans if calls and span.trace_id == calls[0].trace_id]

    return eventually(found, what="the spans")  # type: ignore[no-any-return]


def scrape(mesh: Mesh) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{mesh.endpoints['metrics']}/metrics", timeout=10) as page:
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(page.read().decode())
        return {family.name: family for family in families}


def test_a_call_is_spans_below_its_callers(mesh: Mesh, there: OtlpReceiver) -> None:
    text = "My card is 4111 1111 1111 1111."
    metadata = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "a=1"))
    record = mesh.record(stream(mesh, "resilient", text, *metadata))
    call, exchange, *attempts = spans_of(there, record.record_id)
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, CALLER)
    assert call.trace_state == "a=1"
    assert call.start_time_unix_nano == record.started_at.ToNanoseconds()
    assert attributes_of(call)["rpc.response.status_code"] == "OK"
    told = attributes_of(exchange)
    assert told["harmost.decision.effect"] == "allow"
    assert told["harmost.decision.redactions"] == ["pan 1"]
    assert told["harmost.cost"] == record.cost_usd_nanos > 0
    assert len(attempts) == len(record.attempts)
    told = attributes_of(attempts[-1])
    assert told["gen_ai.request.model"] == record.attempts[-1].vendor_model_id
    assert told["gen_ai.usage.input_tokens"] == record.usage.input_tokens
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["gen_ai.request.max_tokens"] > 0
    assert told["server.address"] == "127.0.0.1"
    assert not any(b"4111" in span.SerializeToString() for span in there.spans)


def test_a_malformed_traceparent_refuses_nothing_and_means_nothing(
    mesh: Mesh, there: OtlpReceiver
) -> None:
    record_id = stream(mesh, "hello", "hi", ("traceparent", "00-zz"), ("tracestate", "a=1"))
    call, *_ = spans_of(there, record_id)
    assert (call.trace_id.hex(), call.parent_span_id) == (record_id, b"")


def test_a_hop_is_two_attempts_the_first_of_them_an_error(mesh: Mesh, there: OtlpReceiver) -> None:
    text = "hop [[sandbox fail_first=1]]"
    record_id = stream(mesh, "resilient", text)
    record = mesh.record(record_id)
    if len(record.attempts) < 2:
        pytest.fail(f"it did not hop: {record}")
    _, exchange, first, *_ = spans_of(there, record_id)
    assert attributes_of(exchange)["harmost.hops"] == len(record.attempts) - 1
    assert first.status.code == Status.STATUS_CODE_ERROR


def test_prometheus_and_otlp_tell_of_calls_budgets_and_routers(
    mesh: Mesh, there: OtlpReceiver
) -> None:
    mesh.record(stream(mesh, "hello", "hi"))
    families = scrape(mesh)
    calls = {
        (s.labels["harmost_profile"], s.labels["harmost_status"]): s.value
        for s in families["harmost_calls"].samples
    }
    assert calls["hello", "completed"] >= 1
    assert families["harmost_router_up"].samples[0].value == 1
    assert families["harmost_router_up"].samples[0].labels == {"harmost_router": "router-0"}
    assert families["harmost_router_journal_size_bytes"].samples[0].value > 0
    assert families["harmost_snapshot_generation"].samples[0].value == mesh.generation()
    limits = {s.labels["harmost_budget"] for s in families["harmost_budget_limit"].samples}
    assert limits == {name for name, _ in mesh.budgets()}
    for family in families.values():
        for sample in family.samples:
            assert not {"harmost_tenant", "harmost_agent_id"} & sample.labels.keys()
    pushed = eventually(
        lambda: there.metrics and there.newest().get("harmost.calls"), what="metrics over OTLP"
    )
    assert pushed.sum.data_points


def test_a_router_that_is_gone_is_told_as_down(mesh: Mesh) -> None:
    mesh.kill("router")

    def restarted() -> bool:
        samples = scrape(mesh)["harmost_router_up"].samples
        return [s.value for s in samples] == [1] and bool(mesh.stats(0).uptime_ns)

    eventually(restarted, timeout_s=40, what="the router, up again")


def test_a_collector_that_is_gone_is_noticed_by_no_call(mesh: Mesh, there: OtlpReceiver) -> None:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    there.behave = refuse
    record_id = eventually(lambda: stream(mesh, "hello", "hi"), what="a call")
    mesh.record(record_id)
    eventually(lambda: scrape(mesh)["harmost_export_backlog"].samples[0].value >= 1)
    mesh.kill("telemetry")  # what is owed to a collector outlives the service
    there.behave = None
    assert spans_of(there, record_id)
