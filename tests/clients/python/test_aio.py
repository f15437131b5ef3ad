"""The async client against a real server."""

import asyncio
from typing import Any

import pytest

from harmost.client import (
    AsyncClient,
    BudgetExhausted,
    Claims,
    DeadlineExceeded,
    Delta,
    Finished,
    Message,
    PolicyDenied,
    ProviderFailed,
    RateLimited,
    ServiceUnavailable,
    Started,
    StepStarted,
    Unauthenticated,
    Unreachable,
)


async def test_chat_joins_the_parts_and_tells_the_cost(address: str, key: str) -> None:
    async with AsyncClient(address, key) as client:
        result = await client.chat("hello", "hi")
    assert (result.text, result.record_id) == ("hello there", "r-1")
    assert str(result.cost_usd) == "0.000001234"
    assert result.finished.usage.source == "provider"
    assert result.finished.decision.candidates == ("sandbox-small",)


async def test_options_reach_the_request(address: str, key: str, router: Any) -> None:
    async with AsyncClient(address, key) as client:
        await client.chat(
            "hello",
            [Message("system", "be brief"), Message("user", "hi")],
            tenant="acme/retail",
            output_tokens_max=9,
            temperature_permille=0,
            stop=["END"],
            claims=Claims(purpose="support", opt_outs=("sale",)),
            labels={"team": "x"},
            idempotency_key="k-1",
        )
    (request,) = router.requests
    assert [part.text for message in request.messages for part in message.parts] == [
        "be brief",
        "hi",
    ]
    assert request.generation.HasField("temperature_permille")
    assert not request.generation.HasField("seed")
    assert (request.tenant, request.idempotency_key) == ("acme/retail", "k-1")
    assert list(request.claims.opt_outs) == ["sale"]
    assert router.keys == [f"Bearer {key}"]


async def test_events_are_typed_and_unknown_ones_passed_over(address: str, key: str) -> None:
    async with AsyncClient(address, key) as client:
        events = [event async for event in client.stream("hello", "hi")]
    assert [type(event) for event in events] == [Started, StepStarted, Delta, Finished]
    assert [event.sequence for event in events] == [0, 2, 3, 4]


async def test_breaking_out_cancels_the_call(address: str, key: str, router: Any) -> None:
    async with AsyncClient(address, key) as client:
        async for event in client.stream("endless", "hi"):
            if isinstance(event, Delta):
                break
        async with asyncio.timeout(5):
            assert await router.cancelled.wait()


async def test_leaving_the_block_cancels_the_call(address: str, key: str, router: Any) -> None:
    async with AsyncClient(address, key) as client:
        async with client.stream("endless", "hi") as stream:
            await anext(stream)
        async with asyncio.timeout(5):
            assert await router.cancelled.wait()


async def test_a_stream_that_breaks_raises_and_is_not_replayed(
    address: str, key: str, router: Any
) -> None:
    async with AsyncClient(address, key) as client:
        with pytest.raises(PolicyDenied) as caught:
            [event async for event in client.stream("breaks", "hi", idempotency_key="k")]
    assert caught.value.metadata["rule"] == "no-pan"
    assert router.calls == 1


async def test_unkeyed_chat_is_never_made_again(address: str, key: str, router: Any) -> None:
    router.failures = 1
    async with AsyncClient(address, key) as client:
        with pytest.raises(ServiceUnavailable):
            await client.chat("hello", "hi")
        router.failures, router.calls = 1, 0
        with pytest.raises(RateLimited):
            await client.chat("busy", "hi")
    assert router.calls == 1


@pytest.mark.parametrize("profile", ["hello", "busy"])
async def test_keyed_chat_is_made_again(address: str, key: str, router: Any, profile: str) -> None:
    router.failures = 2
    async with AsyncClient(address, key) as client:
        assert (await client.chat(profile, "hi", idempotency_key="k")).text == "hello there"
    assert router.calls == 3


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        ("spent", BudgetExhausted),
        ("providers", ProviderFailed),
        ("busy-long", RateLimited),
        ("denied", PolicyDenied),
    ],
)
async def test_an_answer_of_the_mesh_is_final_even_with_a_key(
    address: str, key: str, router: Any, profile: str, error: type[Exception]
) -> None:
    router.failures = 9
    async with AsyncClient(address, key) as client:
        with pytest.raises(error):
            await client.chat(profile, "hi", idempotency_key="k")
    assert router.calls == 1


async def test_reads_are_made_again_and_all_pages_read(address: str, key: str, router: Any) -> None:
    router.failures = 1
    async with AsyncClient(address, key) as client:
        models = await client.models()
        profiles = await client.profiles()
        await client.report_outcome("r-1", name="thumbs", score_permille=1000)
    assert [model.name for model in models] == ["a", "b"]
    assert (models[0].input_usd_picos_per_token, models[0].output_usd_picos_per_token) == (7, None)
    assert profiles[0].models == ("a",)


async def test_outcome_is_not_reported_twice(address: str, key: str, router: Any) -> None:
    router.failures = 1
    async with AsyncClient(address, key) as client:
        with pytest.raises(ServiceUnavailable):
            await client.report_outcome("r-1", name="thumbs", score_permille=1000)
    assert router.calls == 1


async def test_the_deadline_ends_a_slow_call(address: str, key: str) -> None:
    async with AsyncClient(address, key) as client:
        with pytest.raises(DeadlineExceeded):
            await client.chat("slow", "hi", timeout_s=0.1)


async def test_no_server_is_unreachable(key: str) -> None:
    async with AsyncClient("127.0.0.1:1", key) as client:
        with pytest.raises(Unreachable):
            await client.chat("hello", "hi", timeout_s=5)


async def test_no_key_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMOST_KEY", raising=False)
    with pytest.raises(Unauthenticated):
        AsyncClient()
    with pytest.raises(Unauthenticated):
        AsyncClient(key="two words")


async def test_the_key_may_come_from_the_environment(
    address: str, key: str, router: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMOST_KEY", key)
    async with AsyncClient(address) as client:
        await client.profiles()
    assert router.keys == [f"Bearer {key}"]


async def test_bad_arguments_are_refused_before_any_call(address: str, key: str) -> None:
    async with AsyncClient(address, key) as client:
        with pytest.raises(ValueError, match="timeout_s"):
            await client.chat("hello", "hi", timeout_s=0)
        with pytest.raises(ValueError, match="role"):
            await client.chat("hello", [Message("boss", "hi")])  # type: ignore[arg-type]
