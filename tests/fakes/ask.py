"""Our side of a call to a fake: codec, credentials, upstream client and exchange, as the Router joins them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmost.core.chat import FinishReason, Generation, Message, Part
from harmost.core.providers.codec import ProviderError, UpstreamRequest
from harmost.core.relay.exchange import AttemptExchange
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.usage import TokenUsage
from harmost.services.providers.endpoints import Endpoint
from harmost.services.upstream.client import upstream_client

__all__ = ["HELLO", "Told", "ask"]

HELLO = (Message.of("user", "hello"),)


@dataclass
class Told:
    """What became of a call."""

    parts: tuple[Part, ...] = ()
    usage: TokenUsage | None = None
    finish: FinishReason | None = None
    error: ProviderError | None = None
    response_id: str = ""
    frames: list[bytes] = field(default_factory=list)  # what the caller gets
    headers: Mapping[str, str] = field(default_factory=dict)


class _Sink:
    def __init__(self, exchange: AttemptExchange) -> None:
        self.exchange, self.told, self.over = exchange, Told(), asyncio.Event()

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        self.told.headers = dict(headers)

    def on_data(self, data: bytes) -> None:
        frames = self.exchange.receive(data)
        if frames is not None:
            self.told.frames.append(frames)
        if self.exchange.done:
            self.over.set()

    def on_end(self) -> None:
        frames = self.exchange.finish()
        if frames is not None:
            self.told.frames.append(frames)
        self.over.set()

    def on_error(self, error: ProviderError) -> None:
        self.exchange.fail(error)
        self.over.set()


async def ask(
    spec: ProviderSpec,
    messages: Sequence[Message] = HELLO,
    *,
    model: str = "m",
    environment: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
    output_tokens_max: int = 1_000,
    **generation: object,
) -> Told:
    """Call the provider that `spec` describes once, to its end."""
    endpoint = Endpoint.of("fake", spec, environment=environment or {})
    request = UpstreamRequest(
        vendor_model_id=model,
        messages=messages,
        output_tokens_max=output_tokens_max,
        generation=Generation(**generation),  # type: ignore[arg-type]
    )
    exchange = AttemptExchange(
        spec.codec, output_tokens_max=output_tokens_max, attempt_id="a", keep_text=True
    )
    sink = _Sink(exchange)
    async with upstream_client(ca_file=ca_file) as client:
        call = client.open(endpoint, endpoint.codec.request(request), attempt_id="a", sink=sink)
        await asyncio.wait_for(sink.over.wait(), 30)
        call.cancel()
    told = sink.told
    told.parts, told.usage, told.finish = exchange.parts, exchange.usage, exchange.finish_reason
    told.error, told.response_id = exchange.error, exchange.response_id
    return told
