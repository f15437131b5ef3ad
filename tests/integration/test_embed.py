"""Vectors through the running mesh, governed like an answer."""

import json
import math

import grpc
import pytest
from mesh import Mesh, eventually

from harmost.budget.v1 import budget_pb2
from harmost.client import (
    AlreadyExists,
    BudgetExhausted,
    EmbedResult,
    HarmostError,
    InvalidInput,
    Killed,
    PolicyDenied,
    ProviderFailed,
)
from harmost.common.v1 import attempt_pb2
from harmost.policy.v1 import policy_pb2
from harmost.router.v1 import router_pb2
from harmost.telemetry.v1 import telemetry_pb2

TEXTS = ["the first text", "the second, which is longer", "größer \N{ROCKET}"]


def embed(mesh: Mesh, *texts: str, profile: str = "search-index", **options: object) -> EmbedResult:
    with mesh.client() as client:
        return client.embed(profile, texts, **options)  # type: ignore[arg-type]


def test_each_text_has_its_vector_and_the_books_agree(mesh: Mesh) -> None:
    said = embed(mesh, *TEXTS, dimensions=12)
    assert [len(vector) for vector in said.vectors] == [12, 12, 12]
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-5) for vector in said.vectors)
    for text, vector in zip(TEXTS, said.vectors, strict=True):
        assert embed(mesh, text, dimensions=12).vectors == (vector,)
    finished = said.finished
    (attempt,) = finished.attempts
    billed = eventually(lambda: mesh.billed().get(attempt.attempt_id), what="the bill")
    assert finished.cost_usd_nanos == billed > 0
    assert finished.usage.input_tokens > 0
    assert (finished.usage.output_tokens, finished.usage.source) == (0, "provider")
    assert attempt.held_usd_nanos >= billed
    mesh.quiet()
    (settled,) = mesh.entries(attempt.attempt_id)
    assert settled.kind == budget_pb2.ENTRY_KIND_SETTLE
    assert settled.amount.usd_nanos == billed
    record = mesh.record(finished.record_id)
    assert record.status == telemetry_pb2.RECORD_STATUS_COMPLETED
    assert (record.cost_usd_nanos, record.profile) == (billed, "search-index")
    assert record.embeds


def test_every_level_of_the_path_is_charged(mesh: Mesh) -> None:
    usd = budget_pb2.UNIT_USD_NANOS
    mesh.quiet()
    before = mesh.budgets()
    cost = embed(mesh, "Charge me", tenant="acme/retail/support").finished.cost_usd_nanos
    mesh.quiet()
    after = mesh.budgets()
    for name in ("acme-monthly", "support-daily"):
        assert after[name, usd].settled - before[name, usd].settled == cost


def test_a_card_number_never_leaves_and_its_vector_is_that_of_the_label(mesh: Mesh) -> None:
    said = embed(mesh, "no card", "my card is 4111 1111 1111 1111")
    redaction = said.finished.decision.redactions[0]
    assert (redaction.data_class, redaction.spans) == ("pan", 1)
    assert "pan" in said.finished.decision.data_classes
    masked = embed(mesh, "my card is **** **** **** 1111")
    assert masked.vectors[0] == said.vectors[1]


MORE = """
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: nowhere, tenant: acme}
spec: {codec: openai, base_url: "http://127.0.0.1:9/v1", connect_timeout_ms: 500}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: embed-nowhere, tenant: acme}
spec: {provider: nowhere, vendor_model_id: x, capabilities: [embeddings],
       price: {input: "0.02", output: "0"}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: embed-claude, tenant: acme}
spec: {provider: sandbox-claude, vendor_model_id: x, capabilities: [embeddings],
       price: {input: "0.02", output: "0"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: index-two, tenant: acme}
spec: {models: [embed-nowhere, sandbox-embed]}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: index-claude, tenant: acme}
spec: {models: [embed-claude]}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: index-strict, tenant: acme}
spec: {models: [sandbox-embed], unsupported_parameters: refuse}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: index-poor, tenant: acme}
spec: {models: [sandbox-embed], cost: {usd_max: "0.000003"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: index-denied, tenant: acme}
spec: {models: [sandbox-embed]}
---
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: no-secrets-in-vectors, tenant: acme}
spec:
  rules:
    - {name: no-cards, when: 'request.profile == "index-denied" && "pan" in data.classes',
       deny: "no vectors of cards", cites: [PCI DSS 3.4]}
"""


@pytest.fixture(scope="module")
def more(mesh: Mesh) -> Mesh:
    mesh.apply(MORE)
    return mesh


def test_the_next_model_is_asked_where_one_cannot_be_reached(more: Mesh) -> None:
    finished = embed(more, "hop", profile="index-two").finished
    assert [each.outcome for each in finished.attempts] == ["connect_failed", "completed"]
    assert finished.model == "sandbox-embed"


def test_a_denial_names_its_rule_and_is_recorded(more: Mesh) -> None:
    with pytest.raises(PolicyDenied) as caught:
        embed(more, "fine", "4111 1111 1111 1111", profile="index-denied")
    assert caught.value.metadata["rule"] == "no-cards"
    record = more.record(caught.value.metadata["record_id"])
    assert record.status == telemetry_pb2.RECORD_STATUS_POLICY_DENIED
    assert not record.attempts


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        ("index-claude", "its provider's format has no vectors"),
        ("hello", "the call needs `embeddings`"),
    ],
)
def test_a_model_that_makes_no_vectors_is_left_out_by_name(
    more: Mesh, profile: str, why: str
) -> None:
    with pytest.raises(PolicyDenied, match=why):
        embed(more, "x", profile=profile)


def test_a_model_of_vectors_is_not_chatted_with(mesh: Mesh) -> None:
    with mesh.client() as client, pytest.raises(PolicyDenied, match="makes vectors"):
        client.chat("search-index", "hello?")


def test_a_purpose_that_the_provider_does_not_take_is_told_or_refused(more: Mesh) -> None:
    warned = embed(more, "x", purpose="query").finished.warnings
    assert "model `sandbox-embed` does not take `purpose`: it was left out" in warned
    with pytest.raises(PolicyDenied, match="does not take `purpose`"):
        embed(more, "x", purpose="query", profile="index-strict")


def test_what_all_texts_may_cost_is_held_before_anything_is_sent(more: Mesh) -> None:
    with pytest.raises(BudgetExhausted):
        embed(more, "word " * 1_000, profile="index-poor")
    assert embed(more, "word", profile="index-poor").vectors


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("fail=503", attempt_pb2.ATTEMPT_OUTCOME_PROVIDER_ERROR),
        ("throttle=1", attempt_pb2.ATTEMPT_OUTCOME_THROTTLED),
        ("break_after=0", attempt_pb2.ATTEMPT_OUTCOME_CONNECT_FAILED),
        ("garbage=bytes", attempt_pb2.ATTEMPT_OUTCOME_BROKEN),
    ],
)
def test_a_provider_that_fails_is_recorded_as_how_it_did(
    mesh: Mesh, fault: str, outcome: int
) -> None:
    with pytest.raises(ProviderFailed) as caught:
        embed(mesh, f"[[sandbox {fault}]]")
    record = mesh.record(caught.value.metadata["record_id"])
    assert [attempt.outcome for attempt in record.attempts] == [outcome]


def test_usage_that_is_not_told_is_asked_of_the_provider_s_books(mesh: Mesh) -> None:
    finished = embed(mesh, "silent [[sandbox no_usage]]").finished
    (attempt,) = finished.attempts
    assert attempt.cost_usd_nanos == mesh.billed()[attempt.attempt_id] > 0


def test_an_idempotency_key_stands_for_one_call(mesh: Mesh) -> None:
    first = embed(mesh, "once", idempotency_key="embed-once")
    with pytest.raises(AlreadyExists) as caught:
        embed(mesh, "once", idempotency_key="embed-once")
    assert caught.value.metadata["record_id"] == first.record_id


def test_a_kill_switch_stops_it(mesh: Mesh) -> None:
    request = policy_pb2.RevokeRequest(kind=policy_pb2.REVOCATION_KIND_AGENT, name="embedder")
    mesh.policy().Revoke(request, metadata=mesh.metadata)

    def stopped() -> bool:
        with pytest.raises(Killed):
            embed(mesh, "x", agent_id="embedder")
        return True

    eventually(stopped, what="the kill switch")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": ["a", ""]}, r"`inputs\[1\]` is empty"),
        ({"inputs": ["x"] * 2049}, "inputs"),
        ({"inputs": ["x" * (1 << 20) + "x"]}, "inputs"),
        ({"inputs": ["x" * 200_000] * 2}, "takes at most 262144"),
        ({"dimensions": -1}, "dimensions"),
        ({"dimensions": 65_537}, "dimensions"),
        ({"purpose": 77}, "purpose"),
        ({"profile": "customer-support-escalation"}, "has 2 steps"),
        ({"profile": "resilient"}, "has a `system`"),
    ],
)
def test_a_wrong_request_names_what_is_wrong(
    mesh: Mesh, change: dict[str, object], why: str
) -> None:
    said: dict[str, object] = {"profile": "search-index", "inputs": ["x"], **change}
    request = router_pb2.EmbedRequest(**said)  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError, match=why) as caught:
        mesh.router().Embed(request, metadata=mesh.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_text_that_is_no_utf_8_is_refused(mesh: Mesh) -> None:
    call = mesh.channel("router").unary_unary("/harmost.router.v1.RouterService/Embed")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x0a\x0csearch-index\x12\x02\xff\xfe", metadata=mesh.metadata)
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


def test_more_dimensions_than_the_provider_has_are_its_refusal(mesh: Mesh) -> None:
    with pytest.raises(ProviderFailed, match="invalid request"):
        embed(mesh, "x", dimensions=5_000)


def test_the_command_line_prints_a_vector_a_line_and_what_it_cost(mesh: Mesh) -> None:
    made = mesh.harmost("embed", "search-index", "one", "two", "--dimensions", "3")
    vectors = [json.loads(line) for line in made.stdout.splitlines()]
    assert [len(vector) for vector in vectors] == [3, 3]
    assert "sandbox-embed" in made.stderr
    whole = json.loads(mesh.harmost("embed", "search-index", "one", "--json").stdout)
    assert len(whole["vectors"][0]) == 256
    assert whole["finished"]["model"] == "sandbox-embed"
    wrong = mesh.harmost("embed", "search-index", "one", "--purpose", "fun", check=False)
    assert wrong.returncode != 0
    assert "no purpose is called `fun`" in wrong.stderr


def test_a_deadline_ends_it(mesh: Mesh) -> None:
    with pytest.raises(HarmostError) as caught:
        embed(mesh, "[[sandbox ttft_ms=5000]]", timeout_s=0.3)
    assert not isinstance(caught.value, InvalidInput)
    mesh.quiet()
