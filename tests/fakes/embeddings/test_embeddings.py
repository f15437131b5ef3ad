"""Each vendor's own client believes the fake; then our side is held to the same vectors."""

import asyncio
import json
import random
import struct
import warnings
from collections.abc import Mapping
from typing import Any

import boto3
import cohere
import openai
import pytest
from botocore.config import Config

from fakes.embeddings.fake import KEY, EmbeddingsFake, vector
from fakes.serve import Fault, serving
from harmost.core.chat import Embeds
from harmost.core.providers.codec import ProviderError
from harmost.core.providers.embed import EmbedRequest
from harmost.core.providers.embed_registry import embed_codec_of
from harmost.core.relay.gathered import GatheredExchange
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint
from harmost.services.upstream.client import upstream_client

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")

TEXTS = ("a", "größer", "three words here")
VECTORS = [vector(text) for text in TEXTS]
VERTEX = "/v1/projects/p/locations/l/publishers/google"


@pytest.mark.parametrize("strict", [False, True])
async def test_openai_s_client_believes_the_fake(strict: bool) -> None:
    # It asks for base64 by itself, which its own strict mode takes for no vector: that gets digits.
    digits: Any = {"encoding_format": "float"} if strict else {}
    async with (
        serving(EmbeddingsFake()) as url,
        openai.AsyncOpenAI(
            api_key=KEY, base_url=url, _strict_response_validation=strict, max_retries=0
        ) as client,
    ):
        said = await client.embeddings.create(model="m", input=list(TEXTS), **digits)
    assert [each.embedding for each in said.data] == VECTORS
    assert said.usage.prompt_tokens == 7


async def test_azure_s_client_believes_the_fake() -> None:
    async with (
        serving(EmbeddingsFake()) as url,
        openai.AsyncAzureOpenAI(
            api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0
        ) as client,
    ):
        said = await client.embeddings.create(model="a-deployment", input=list(TEXTS))
    assert [each.embedding for each in said.data] == VECTORS


async def test_cohere_s_client_believes_the_fake() -> None:
    async with (
        serving(EmbeddingsFake()) as url,
        cohere.AsyncClientV2(api_key=KEY, base_url=url) as client,
    ):
        said = await client.embed(
            model="m", input_type="search_query", texts=list(TEXTS), embedding_types=["float"]
        )
    assert said.embeddings.float_ == VECTORS
    assert said.meta is not None
    assert said.meta.billed_units is not None
    assert said.meta.billed_units.input_tokens == 7


async def test_google_s_client_believes_the_fake() -> None:
    async with serving(EmbeddingsFake()) as url:
        client = genai.Client(api_key=KEY, http_options={"base_url": url})  # type: ignore[arg-type]
        async with client.aio as aio:
            said = await aio.models.embed_content(
                model="text-embedding-004",
                contents=list(TEXTS),
                config={"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 4},
            )
    assert [each.values for each in said.embeddings or ()] == VECTORS


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "a"}),
        (
            "cohere.embed-v4:0",
            {"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]},
        ),
    ],
)
async def test_aws_s_client_believes_the_fake(model: str, body: Mapping[str, Any]) -> None:
    async with serving(EmbeddingsFake()) as url:
        client = boto3.client(
            "bedrock-runtime",
            region_name="eu-central-1",
            endpoint_url=url,
            aws_access_key_id=KEY,
            aws_secret_access_key="s",
            config=Config(retries={"total_max_attempts": 1}),
        )
        said = await asyncio.to_thread(client.invoke_model, modelId=model, body=json.dumps(body))
        answer = json.loads(await asyncio.to_thread(said["body"].read))
        client.close()
    assert VECTORS[0] in (
        answer.get("embedding"),
        (answer.get("embeddings") or {}).get("float", [0])[0],
    )


# --- Our side --------------------------------------------------------------------------------------


class _Sink:
    def __init__(self, exchange: GatheredExchange) -> None:
        self.exchange, self.over = exchange, asyncio.Event()

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        pass

    def on_data(self, data: bytes) -> None:
        self.exchange.receive(data)
        if self.exchange.done:
            self.over.set()

    def on_end(self) -> None:
        self.exchange.finish()
        self.over.set()

    def on_error(self, error: ProviderError) -> None:
        self.exchange.fail(error)
        self.over.set()


async def embed(
    fake: EmbeddingsFake, codec: str, model: str, *texts: str, path: str = "", http2: bool = False,
    key: str = KEY, **embeds: Any,
) -> GatheredExchange:  # fmt: skip
    async with serving(fake) as url:
        spec = ProviderSpec(
            codec=codec,  # type: ignore[arg-type]
            base_url=url + path,
            credentials="env:K",
            idle_timeout_ms=300,
            http2=http2,
        )
        format_ = embed_codec_of(spec)
        assert format_ is not None
        request = EmbedRequest(vendor_model_id=model, texts=texts, embeds=Embeds(**embeds))
        exchange = GatheredExchange(format_, request, first_sequence=0)
        sink = _Sink(exchange)
        endpoint = Endpoint.of("fake", spec, environment={"K": key})
        async with upstream_client() as client:
            call = client.open(endpoint, format_.request(request), attempt_id="a", sink=sink)
            await asyncio.wait_for(sink.over.wait(), 20)
            call.cancel()
    return exchange


WAYS = {
    "openai": ("openai", "m", ""),
    "azure": ("azure", "my deployment", ""),
    "cohere": ("cohere", "embed-v4.0", ""),
    "gemini": ("gemini", "text-embedding-004", "/v1beta"),
    "vertex": ("gemini", "text-embedding-005", VERTEX),
    "titan": ("bedrock", "amazon.titan-embed-text-v2:0", ""),
    "cohere on bedrock": ("bedrock", "eu.cohere.embed-v4:0", ""),
}
UNTOLD = ("gemini", "cohere on bedrock")  # what they do not say of usage


def texts_of(way: str) -> tuple[str, ...]:
    return TEXTS[:1] if way == "titan" else TEXTS


def floats(exchange: GatheredExchange) -> list[list[float]]:
    return [list(struct.unpack(f"<{len(v) // 4}f", v)) for v in exchange.vectors]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_every_vendor_s_vectors_come_whole_wherever_they_are_cut(
    way: str, http2: bool
) -> None:
    codec, model, path = WAYS[way]
    texts = texts_of(way)
    fake = EmbeddingsFake(cuts=random.Random(way))
    found = await embed(fake, codec, model, *texts, path=path, http2=http2)
    assert found.error is None
    assert floats(found) == [vector(text) for text in texts]
    assert fake.texts == [list(texts)]
    told = 7 * (len(texts) if way == "vertex" else 1)
    assert (found.usage.input_tokens if found.usage else None) == (None if way in UNTOLD else told)


@pytest.mark.parametrize("way", WAYS)
async def test_dimensions_and_purpose_reach_who_takes_them(way: str) -> None:
    codec, model, path = WAYS[way]
    fake = EmbeddingsFake()
    for purpose in ("document", "query", "classification", "clustering"):
        found = await embed(
            fake, codec, model, *texts_of(way), path=path, dimensions=2, purpose=purpose
        )
        assert [len(each) for each in floats(found)] == [2] * len(texts_of(way))
    said = fake.seen[1].body.decode().lower()
    assert ("query" in said) == (way not in ("openai", "azure", "titan"))


FAULTS: list[tuple[Fault, str]] = [
    ("throttled", "throttled"),
    ("cut", "broken"),
    ("garbage", "broken"),
    ("stall", "stalled"),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_of_any_vendor_has_its_kind(way: str, fault: Fault, kind: str) -> None:
    codec, model, path = WAYS[way]
    found = await embed(EmbeddingsFake(fault=fault), codec, model, *texts_of(way), path=path)
    assert found.error is not None
    assert found.error.kind == kind
    assert found.error.retry_after_s == (7.0 if fault == "throttled" else None)
    assert found.vectors == ()


@pytest.mark.parametrize("way", WAYS)
async def test_a_wrong_key_is_refused_and_never_told(way: str) -> None:
    codec, model, path = WAYS[way]
    found = await embed(EmbeddingsFake(), codec, model, *texts_of(way), path=path, key="other-key")
    assert found.error is not None
    assert found.error.kind == "auth"
    assert "other-key" not in found.error.message


def test_what_a_vendor_does_not_take_is_told_before_it_is_asked() -> None:
    spec = ProviderSpec(codec="bedrock", base_url="https://x")
    bedrock = embed_codec_of(spec)
    assert bedrock is not None
    titan, first = "amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v1"
    assert bedrock.fit(titan, Embeds(purpose="query")).drops == ("purpose",)
    assert bedrock.fit(first, Embeds(dimensions=2)).lacks == ("dimensions",)
    assert bedrock.fit("amazon.nova-pro-v1:0", Embeds()).lacks
    assert (bedrock.texts_max(titan), bedrock.texts_max("cohere.embed-v4:0")) == (1, 96)
    assert embed_codec_of(ProviderSpec(codec="anthropic", base_url="https://x")) is None
