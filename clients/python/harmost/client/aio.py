"""The client for asyncio programs: the same calls as `Client`, awaited."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self, Unpack

import grpc

from harmost.client import convert
from harmost.client.errors import error_of
from harmost.client.events import ChatResult, EmbedResult, Event, ModelInfo, ProfileInfo
from harmost.client.request import (
    TIMEOUT_S,
    EmbedOptions,
    Messages,
    Options,
    chat_request,
    embed_request,
    timeout_of,
)
from harmost.client.retry import Repeat, delay_s
from harmost.client.transport import ADDRESS, CHANNEL_OPTIONS, Tls, credentials_of, key_metadata
from harmost.router.v1 import router_pb2, router_pb2_grpc

__all__ = ["AsyncChatStream", "AsyncClient"]

PAGE_SIZE = 1_000
PAGES_MAX = 100  # a server that never ends its pages must not hold a program for ever


class AsyncChatStream:
    """Async iterator of events. Leaving it early, by `break`, `close` or `with`, cancels the call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            while True:
                message = await self._call.read()
                if message is grpc.aio.EOF:
                    raise StopAsyncIteration
                event = convert.event_of(message)
                if event is not None:
                    return event
        except grpc.RpcError as error:
            raise error_of(error) from error

    def close(self) -> None:
        """Cancel the call; harmless when it is over."""
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class AsyncClient:
    """Makes governed calls. `key` None: HARMOST_KEY. `tls` None: plaintext, for loopback.

    Belongs to the event loop in which it is made.
    """

    def __init__(
        self, address: str = ADDRESS, key: str | None = None, tls: Tls | None = None
    ) -> None:
        self._metadata = key_metadata(key)
        options = list(CHANNEL_OPTIONS)
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            if tls.server_name:
                options.append(("grpc.ssl_target_name_override", tls.server_name))
            self._channel = grpc.aio.secure_channel(address, credentials_of(tls), options)
        self._stub: Any = router_pb2_grpc.RouterServiceStub(self._channel)

    async def chat(
        self, profile: str, messages: Messages, **options: Unpack[Options]
    ) -> ChatResult:
        """The whole answer of one call. Made again by itself only with an `idempotency_key`."""
        request = chat_request(router_pb2.ChatRequest, profile, messages, options)
        repeat = Repeat.KEYED if request.idempotency_key else Repeat.NEVER
        response = await self._call(self._stub.Chat, request, timeout_of(options), repeat)
        return convert.chat_result(response)

    def stream(
        self, profile: str, messages: Messages, **options: Unpack[Options]
    ) -> AsyncChatStream:
        """The answer's events as they come. Never made again by itself."""
        request = chat_request(router_pb2.StreamChatRequest, profile, messages, options)
        timeout_s = timeout_of(options)
        return AsyncChatStream(
            self._stub.StreamChat(request, timeout=timeout_s, metadata=self._metadata)
        )

    async def embed(
        self, profile: str, texts: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> EmbedResult:
        """A vector for each text, in order. Made again by itself only with an `idempotency_key`."""
        request = embed_request(profile, texts, options)
        repeat = Repeat.KEYED if request.idempotency_key else Repeat.NEVER
        response = await self._call(self._stub.Embed, request, timeout_of(options), repeat)
        return convert.embed_result(response)

    async def models(self, *, timeout_s: float = TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Models that the key may know of."""
        found: list[ModelInfo] = []
        request = router_pb2.ListModelsRequest(page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page: router_pb2.ListModelsResponse = await self._call(
                self._stub.ListModels, request, timeout_s, Repeat.READ
            )
            found.extend(map(convert.model_info, page.models))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return tuple(found)

    async def profiles(self, *, timeout_s: float = TIMEOUT_S) -> tuple[ProfileInfo, ...]:
        """Mission profiles that the key may call."""
        found: list[ProfileInfo] = []
        request = router_pb2.ListProfilesRequest(page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page: router_pb2.ListProfilesResponse = await self._call(
                self._stub.ListProfiles, request, timeout_s, Repeat.READ
            )
            found.extend(map(convert.profile_info, page.profiles))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return tuple(found)

    async def report_outcome(
        self, record_id: str, *, name: str, score_permille: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Say how good an answer was: 0 (bad) to 1000 (good)."""
        request = router_pb2.ReportOutcomeRequest(
            record_id=record_id, name=name, score_permille=score_permille
        )
        await self._call(self._stub.ReportOutcome, request, timeout_s, Repeat.NEVER)

    async def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(
        self, method: Callable[..., Any], request: object, timeout_s: float, repeat: Repeat
    ) -> Any:
        deadline = time.monotonic() + timeout_s
        tries = 0
        while True:
            remaining_s = max(deadline - time.monotonic(), 0.0)
            tries += 1
            try:
                return await method(request, timeout=remaining_s, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = error_of(error)
            delay = delay_s(
                failure,
                repeat=repeat,
                tries=tries,
                remaining_s=deadline - time.monotonic(),
                dice=random.random(),
            )
            if delay is None:
                raise failure
            await asyncio.sleep(delay)
