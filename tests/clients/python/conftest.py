"""A Router in little, on a real port: each profile name is one behaviour."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import pytest

from harmost.common.v1 import decision_pb2, usage_pb2
from harmost.core import errors
from harmost.router.v1 import router_pb2, router_pb2_grpc
from harmost.services.interceptors.errors import status_of

KEY = "hm_0123456789ab_secret"
DENIED = errors.PolicyDenied(
    "policy `cards` denies it: no card numbers",
    details={"policy": "cards", "rule": "no-pan", "citations": "PCI DSS 3.4.1"},
)
FINISHED = router_pb2.Finished(
    record_id="r-1",
    finish_reason=router_pb2.FINISH_REASON_STOP,
    model="sandbox-small",
    provider="sandbox",
    usage=usage_pb2.TokenUsage(
        input_tokens=3, output_tokens=5, source=usage_pb2.USAGE_SOURCE_PROVIDER
    ),
    cost_usd_nanos=1_234,
    decision=decision_pb2.Decision(effect=decision_pb2.EFFECT_ALLOW, candidates=["sandbox-small"]),
    added_ns=42,
)


@dataclass
class Router(router_pb2_grpc.RouterServiceServicer):
    """Counts calls; fails the first `failures` of them with the error that the profile names."""

    failures: int = 0
    calls: int = 0
    keys: list[str] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def Chat(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return router_pb2.ChatResponse(
            parts=[router_pb2.Part(text="hello "), router_pb2.Part(text="there")],
            finished=FINISHED,
        )

    async def StreamChat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(request, context)
        try:
            async for event in self._events(request.profile, context):
                yield event
        except (asyncio.CancelledError, GeneratorExit):  # whichever await the cancel meets
            self.cancelled.set()
            raise

    async def ListModels(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        first = not request.page_token
        info = router_pb2.ModelInfo(name="a" if first else "b", input_usd_picos_per_token=7)
        return router_pb2.ListModelsResponse(
            models=[info], next_page_token="second" if first else ""
        )

    async def ListProfiles(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return router_pb2.ListProfilesResponse(
            profiles=[router_pb2.ProfileInfo(name="hello", tenant="acme", models=["a"])]
        )

    async def ReportOutcome(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return router_pb2.ReportOutcomeResponse()

    async def _events(self, profile: str, context: Any) -> AsyncIterator[Any]:
        event = router_pb2.StreamChatResponse
        yield event(started=router_pb2.Started(record_id="r-1", tenant="acme"))
        yield event(sequence=1)  # a kind of event that this client does not know
        yield event(sequence=2, step_started=router_pb2.StepStarted(step="answer", model="m"))
        text = 3
        while profile == "endless":
            yield event(sequence=text, delta=router_pb2.Delta(text="more "))
            text += 1
            await asyncio.sleep(0.001)
        yield event(sequence=text, delta=router_pb2.Delta(text="hello"))
        if profile == "breaks":
            await fail(context, DENIED)
        yield event(sequence=text + 1, finished=FINISHED)

    async def _enter(self, request: Any, context: Any) -> None:
        self.calls += 1
        self.requests.append(request)
        self.keys.append(dict(context.invocation_metadata())["authorization"])
        profile = getattr(request, "profile", "")
        if profile == "denied":
            await fail(context, DENIED)
        if profile == "slow":
            await asyncio.sleep(30)
        if self.calls <= self.failures:
            await fail(context, FAILURES.get(profile, errors.ServiceUnavailable("not now")))


FAILURES: dict[str, errors.HarmostError] = {
    "busy": errors.RateLimited("too much at once", retry_after_s=0.01),
    "busy-long": errors.RateLimited("too much at once", retry_after_s=3_600),
    "spent": errors.BudgetExhausted("no money", details={"node": "tenant:acme"}),
    "providers": errors.ProviderFailed("every candidate failed"),
}


async def fail(context: Any, error: errors.HarmostError) -> NoReturn:
    await context.abort_with_status(status_of(error))
    raise AssertionError("abort raises")


@pytest.fixture
async def router() -> Router:
    """The servicer that answers at `address`."""
    return Router()


@pytest.fixture
async def address(router: Router) -> AsyncIterator[str]:
    """Where a real server listens."""
    server = grpc.aio.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
def key() -> str:
    """A key that any Router in little takes."""
    return KEY
