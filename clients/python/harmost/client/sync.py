"""The client for programs without an event loop. Safe to share between threads."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar, Unpack

import grpc

from harmost.client import convert
from harmost.client.errors import HarmostError, error_of
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

__all__ = ["ChatStream", "Client"]

PAGE_SIZE = 1_000
PAGES_MAX = 100  # a server that never ends its pages must not hold a program for ever

Response = TypeVar("Response")


class ChatStream:
    """Iterator of events. Leaving it early, by `break`, `close` or `with`, cancels the call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            while (event := convert.event_of(next(self._call))) is None:
                pass
        except grpc.RpcError as error:
            raise error_of(error) from error
        return event

    def close(self) -> None:
        """Cancel the call; harmless when it is over."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Client:
    """Makes governed calls. `key` None: HARMOST_KEY. `tls` None: plaintext, for loopback."""

    def __init__(
        self, address: str = ADDRESS, key: str | None = None, tls: Tls | None = None
    ) -> None:
        self._metadata = key_metadata(key)
        options = list(CHANNEL_OPTIONS)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            if tls.server_name:
                options.append(("grpc.ssl_target_name_override", tls.server_name))
            self._channel = grpc.secure_channel(address, credentials_of(tls), options)
        self._stub = router_pb2_grpc.RouterServiceStub(self._channel)

    def chat(self, profile: str, messages: Messages, **options: Unpack[Options]) -> ChatResult:
        """The whole answer of one call. Made again by itself only with an `idempotency_key`."""
        request = chat_request(router_pb2.ChatRequest, profile, messages, options)
        repeat = Repeat.KEYED if request.idempotency_key else Repeat.NEVER
        response = self._call(self._stub.Chat, request, timeout_of(options), repeat)
        return convert.chat_result(response)

    def stream(self, profile: str, messages: Messages, **options: Unpack[Options]) -> ChatStream:
        """The answer's events as they come. Never made again by itself."""
        request = chat_request(router_pb2.StreamChatRequest, profile, messages, options)
        timeout_s = timeout_of(options)
        return ChatStream(
            self._stub.StreamChat(request, timeout=timeout_s, metadata=self._metadata)
        )

    def embed(
        self, profile: str, texts: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> EmbedResult:
        """A vector for each text, in order. Made again by itself only with an `idempotency_key`."""
        request = embed_request(profile, texts, options)
        repeat = Repeat.KEYED if request.idempotency_key else Repeat.NEVER
        response = self._call(self._stub.Embed, request, timeout_of(options), repeat)
        return convert.embed_result(response)

    def models(self, *, timeout_s: float = TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Models that the key may know of."""
        found: list[ModelInfo] = []
        request = router_pb2.ListModelsRequest(page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page = self._call(self._stub.ListModels, request, timeout_s, Repeat.READ)
            found.extend(map(convert.model_info, page.models))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return tuple(found)

    def profiles(self, *, timeout_s: float = TIMEOUT_S) -> tuple[ProfileInfo, ...]:
        """Mission profiles that the key may call."""
        found: list[ProfileInfo] = []
        request = router_pb2.ListProfilesRequest(page_size=PAGE_SIZE)
        for _ in range(PAGES_MAX):
            page = self._call(self._stub.ListProfiles, request, timeout_s, Repeat.READ)
            found.extend(map(convert.profile_info, page.profiles))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return tuple(found)

    def report_outcome(
        self, record_id: str, *, name: str, score_permille: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Say how good an answer was: 0 (bad) to 1000 (good)."""
        request = router_pb2.ReportOutcomeRequest(
            record_id=record_id, name=name, score_permille=score_permille
        )
        self._call(self._stub.ReportOutcome, request, timeout_s, Repeat.NEVER)

    def close(self) -> None:
        """Close the connection; running calls are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self, method: Callable[..., Response], request: object, timeout_s: float, repeat: Repeat
    ) -> Response:
        deadline = time.monotonic() + timeout_s
        tries = 0
        while True:
            remaining_s = max(deadline - time.monotonic(), 0.0)
            tries += 1
            try:
                return method(request, timeout=remaining_s, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = error_of(error)
            self._wait_or_raise(failure, repeat, tries, deadline)

    @staticmethod
    def _wait_or_raise(failure: HarmostError, repeat: Repeat, tries: int, deadline: float) -> None:
        delay = delay_s(
            failure,
            repeat=repeat,
            tries=tries,
            remaining_s=deadline - time.monotonic(),
            dice=random.random(),
        )
        if delay is None:
            raise failure
        time.sleep(delay)
