"""Bad input gets a clear error, and nothing is lost: the whole list, against the running mesh."""

import time

import grpc
import pytest
from effort import transports
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mesh import Mesh, eventually

from harmost.budget.v1 import budget_pb2
from harmost.client import (
    BudgetExhausted,
    Claims,
    DeadlineExceeded,
    Delta,
    Finished,
    Forbidden,
    InvalidInput,
    NotFound,
    ProviderFailed,
    Unauthenticated,
)
from harmost.common.v1 import attempt_pb2, usage_pb2
from harmost.router.v1 import router_pb2
from harmost.telemetry.v1 import telemetry_pb2

pytestmark = pytest.mark.parametrize("mesh", transports(), indirect=True, scope="module")

UNPRICED = """
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: unpriced, tenant: acme}
spec: {provider: sandbox, vendor_model_id: unpriced}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: unpriced, tenant: acme}
spec: {models: [unpriced]}
"""

SEARCHING = """
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: searching, tenant: acme}
spec: {provider: sandbox, vendor_model_id: sandbox-small, price: {input: "1", output: "1", tools: {web_search: "0.01"}},
       server_tools: {web_search: {%s}}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: searching, tenant: acme}
spec: {models: [searching]}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: searching-or-not, tenant: acme}
spec: {models: [searching, sandbox-small]}
"""

TIGHT = """
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {name: acme/tight}
---
apiVersion: harmost.dev/v1
kind: Budget
metadata: {name: tight, tenant: acme/tight}
spec:
  limits:
    - {window: total, usd: "0.0001"}
"""


CAPPED = """
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: capped, tenant: acme}
spec:
  steps:
    - {name: first, models: [sandbox-small]}
    - {name: second, models: [sandbox-small]}
  cost: {usd_max: "0.0001"}
"""


def test_an_unknown_profile_is_named_with_what_to_do(mesh: Mesh) -> None:
    with mesh.client() as client, pytest.raises(NotFound, match=r"`nope`.*harmost profiles"):
        client.chat("nope", "hi")


def test_a_wrong_key_is_refused(mesh: Mesh) -> None:
    wrong = mesh.admin_key[:-3] + "xyz"
    with mesh.client(wrong) as client, pytest.raises(Unauthenticated, match="harmost key create"):
        client.chat("hello", "hi")


def test_a_key_sees_nothing_of_its_neighbours(mesh: Mesh) -> None:
    key = mesh.key("acme/research", "notebooks", "caller")
    with mesh.client(key) as client:
        with pytest.raises(NotFound):
            client.chat("customer-support-escalation", "hi")
        with pytest.raises(NotFound, match="may charge `acme/research`"):
            client.chat("hello", "hi", tenant="acme/retail")
        assert "customer-support-escalation" not in {p.name for p in client.profiles()}


def test_a_claim_that_is_not_granted_is_refused(mesh: Mesh) -> None:
    key = mesh.key("acme/research", "notebooks", "caller")
    with mesh.client(key) as client, pytest.raises(Forbidden, match=r"claims\.purpose"):
        client.chat("hello", "hi", claims=Claims(purpose="anything"))


def test_an_oversized_prompt_is_refused_with_its_bound(mesh: Mesh) -> None:
    with mesh.client() as client:
        with pytest.raises(InvalidInput, match="at most 262144"):
            client.chat("hello", "x" * 300_000)
        with pytest.raises(InvalidInput, match="4194304"):
            client.chat("hello", "x" * 5_000_000)


def test_bytes_that_are_no_request_are_invalid(mesh: Mesh) -> None:
    call = mesh.channel("router").unary_unary("/harmost.router.v1.RouterService/Chat")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff\xff", metadata=mesh.metadata)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_part_that_is_not_carried_is_refused_never_dropped(mesh: Mesh) -> None:
    image = router_pb2.Part(image=router_pb2.Media(uri="https://example.com/a.png"))
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[image])
    request = router_pb2.ChatRequest(profile="hello", messages=[message])
    with pytest.raises(grpc.RpcError) as caught:
        mesh.router().Chat(request, metadata=mesh.metadata)
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason == "UNSUPPORTED_FIELD"


def test_a_deadline_that_passes_ends_the_call_and_settles_it(mesh: Mesh) -> None:
    with mesh.client() as client:
        slow = "slow [[sandbox token_ms=50 output_tokens=500]]"
        with pytest.raises(DeadlineExceeded):
            list(client.stream("hello", slow, timeout_s=1.0, labels={"test": "deadline"}))
    record = _labelled(mesh, "deadline")
    assert record.status == telemetry_pb2.RECORD_STATUS_CANCELLED
    assert record.attempts[0].outcome in (
        attempt_pb2.ATTEMPT_OUTCOME_DEADLINE,
        attempt_pb2.ATTEMPT_OUTCOME_CANCELLED,
    )
    assert record.attempts[0].usage.output_tokens < 500


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("kind: [", "not YAML"),
        ("apiVersion: harmost.dev/v1\nkind: Nope\nmetadata: {name: x}\nspec: {}\n", "Nope"),
        (
            "apiVersion: harmost.dev/v1\nkind: MissionProfile\n"
            "metadata: {name: x, tenant: acme}\nspec: {modles: [a]}\n",
            "models",
        ),
        (
            "apiVersion: harmost.dev/v1\nkind: MissionProfile\n"
            "metadata: {name: x, tenant: acme}\nspec: {models: [no-such-model]}\n",
            "no-such-model",
        ),
        (
            "apiVersion: harmost.dev/v1\nkind: Policy\nmetadata: {name: x, tenant: acme}\n"
            "spec: {rules: [{name: r, when: 'subject.regoin == \"EEA\"', deny: no}]}\n",
            "subject.regoin",
        ),
    ],
)
def test_documents_that_mean_nothing_are_refused_by_place(mesh: Mesh, yaml: str, says: str) -> None:
    before = mesh.generation()
    with pytest.raises(grpc.RpcError) as caught:
        mesh.apply(yaml)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    request = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[1].Unpack(request)
    violation = request.field_violations[0]
    assert violation.field.startswith("test.yaml:")
    assert says in f"{violation.field} {violation.description}"
    assert mesh.generation() == before


def test_an_unknown_price_under_a_usd_budget_is_denied_never_free(mesh: Mesh) -> None:
    mesh.apply(UNPRICED)
    with mesh.client() as client, pytest.raises(BudgetExhausted, match="price"):
        client.chat("unpriced", "hi")


def test_a_budget_that_cannot_pay_the_whole_answer_shortens_it(mesh: Mesh) -> None:
    mesh.apply(TIGHT)
    with mesh.client() as client:
        finished = client.chat(
            "hello", "go [[sandbox output_tokens=1000]]", tenant="acme/tight"
        ).finished
        assert finished.finish_reason == "budget_exhausted"
        assert 16 <= finished.usage.output_tokens < 1000
        with pytest.raises(BudgetExhausted) as caught:
            for _ in range(20):
                client.chat("hello", "go [[sandbox output_tokens=1000]]", tenant="acme/tight")
    assert caught.value.metadata["budget"] == "tight"
    mesh.quiet()
    tight = mesh.budgets()["tight", budget_pb2.UNIT_USD_NANOS]
    assert tight.settled <= tight.limit
    assert tight.debt == 0


def test_input_that_nobody_bounds_is_denied_by_a_hard_budget(mesh: Mesh) -> None:
    mesh.apply(SEARCHING % "uses_max: 3", name="searching.yaml")
    with mesh.client() as client:
        with pytest.raises(BudgetExhausted, match="`web_search` without `tokens_max_each`") as no:
            client.chat("searching", "hi")
        assert no.value.metadata["reason"] == "input_unbounded"
        assert no.value.metadata["model"] == "searching"
        answer = client.chat("searching-or-not", "hi")
        assert answer.finished.model == "sandbox-small"  # a candidate that is bounded may go on
    mesh.apply(SEARCHING % "uses_max: 3, tokens_max_each: 9", name="searching.yaml")
    with mesh.client() as client:
        answer = client.chat("searching", "hi")
        assert answer.finished.attempts[0].held_usd_nanos > 30_000_000


def test_a_mission_is_cut_and_then_denied_by_its_own_ceiling(mesh: Mesh) -> None:
    mesh.apply(CAPPED)
    with mesh.client() as client:
        for _ in range(2):  # the ceiling is each mission's own
            with pytest.raises(BudgetExhausted) as caught:
                client.chat("capped", "go [[sandbox output_tokens=1000]]")
            assert caught.value.metadata["node"] == "mission:capped"
            assert "raise `cost.usd_max` of the profile" in str(caught.value)
            record = mesh.record(caught.value.metadata["record_id"])
            paid = [attempt.cost_usd_nanos for attempt in record.attempts]
            assert 50_000 < sum(paid) <= 100_000
        answer = client.chat("capped", "go [[sandbox output_tokens=2]]")
        assert [attempt.step_index for attempt in answer.finished.attempts] == [0, 1]


def test_a_provider_that_ignores_its_cap_is_cut_at_the_hold(mesh: Mesh) -> None:
    with mesh.client() as client:
        events = list(
            client.stream(
                "hello",
                "more [[sandbox ignore_max=1 output_tokens=500 token_ms=2]]",
                output_tokens_max=20,
            )
        )
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.finish_reason == "budget_exhausted"
    assert sum(isinstance(event, Delta) for event in events) == 20
    attempt = finished.attempts[0]
    eventually(lambda: mesh.billed().get(attempt.attempt_id) == attempt.cost_usd_nanos)


@pytest.mark.parametrize("fault", ["break_after=5", "break_after=1"])
def test_a_provider_that_hangs_up_mid_stream_is_told_and_settled_by_its_books(
    mesh: Mesh, fault: str
) -> None:
    heard: list[object] = []
    with mesh.client() as client, pytest.raises(ProviderFailed, match="broke off"):
        for event in client.stream("hello", f"hang up [[sandbox {fault} output_tokens=50]]"):
            heard.append(event)
    finished = heard[-1]
    assert isinstance(finished, Finished)
    assert finished.finish_reason == "provider_broke"
    attempt = finished.attempts[0]
    assert mesh.billed()[attempt.attempt_id] == attempt.cost_usd_nanos > 0


@pytest.mark.parametrize("kind", ["bytes", "error", "types"])
def test_garbage_from_a_provider_is_an_error_with_its_record(mesh: Mesh, kind: str) -> None:
    with mesh.client() as client, pytest.raises(ProviderFailed) as caught:
        client.chat("hello", f"garbage [[sandbox garbage={kind}]]")
    assert mesh.record(caught.value.metadata["record_id"]).status == (
        telemetry_pb2.RECORD_STATUS_FAILED
    )


def test_usage_that_is_missing_is_found_in_the_books_or_marked(mesh: Mesh) -> None:
    with mesh.client() as client:
        finished = client.chat("hello", "hush [[sandbox no_usage=1 output_tokens=12]]").finished
    attempt = finished.attempts[0]
    assert attempt.usage.output_tokens == 12
    assert mesh.billed()[attempt.attempt_id] == attempt.cost_usd_nanos


def test_a_client_that_vanishes_stops_its_provider_and_pays_what_was_used(mesh: Mesh) -> None:
    with mesh.client() as client:
        long = "long [[sandbox token_ms=20 output_tokens=2000]]"
        stream = client.stream("hello", long, labels={"test": "vanish"}, output_tokens_max=2000)
        for count, event in enumerate(stream):
            if isinstance(event, Delta) and count > 10:
                break
        stream.close()
    record = _labelled(mesh, "vanish")
    attempt = record.attempts[0]
    assert record.status == telemetry_pb2.RECORD_STATUS_CANCELLED
    assert attempt.outcome == attempt_pb2.ATTEMPT_OUTCOME_CANCELLED
    assert 5 <= attempt.usage.output_tokens < 200
    assert attempt.usage.source == usage_pb2.USAGE_SOURCE_PROVIDER
    assert mesh.billed()[attempt.attempt_id] == attempt.cost_usd_nanos
    mesh.quiet()
    (settled,) = mesh.entries(attempt.attempt_id)
    assert settled.amount.usd_nanos == attempt.cost_usd_nanos


def test_a_key_used_twice_is_told_the_record(mesh: Mesh) -> None:
    key = f"once-{time.time_ns()}"
    part = router_pb2.Part(text="once")
    message = router_pb2.Message(role=router_pb2.MESSAGE_ROLE_USER, parts=[part])
    request = router_pb2.ChatRequest(profile="hello", messages=[message], idempotency_key=key)
    first = mesh.router().Chat(request, metadata=mesh.metadata)
    with pytest.raises(grpc.RpcError) as caught:
        mesh.router().Chat(request, metadata=mesh.metadata)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert first.finished.record_id in caught.value.details()


def _labelled(mesh: Mesh, label: str) -> telemetry_pb2.Record:
    found: telemetry_pb2.Record = eventually(
        lambda: next((r for r in mesh.records() if r.labels.get("test") == label), None),
        what=f"a record labelled {label}",
    )
    return found
