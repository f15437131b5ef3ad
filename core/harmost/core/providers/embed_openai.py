"""OpenAI's `/embeddings`, which Azure v1, vLLM, Ollama and others speak as well.

Source: openai/openai-openapi, `CreateEmbeddingRequest` and `CreateEmbeddingResponse`. Vectors are asked
for in base64, a third of their size in digits; who sends digits all the same is understood. What the
vectors are for has no form: OpenAI's models make the same ones for everything.
"""

import binascii
from typing import Annotated

import msgspec

from harmost.core.chat import Embeds
from harmost.core.providers.codec import Fit, HttpRequest
from harmost.core.providers.embed import (
    EmbedAnswer,
    EmbedRequest,
    answered,
    json_request,
    packed,
    told,
)
from harmost.core.providers.failures import UNREADABLE, broken
from harmost.core.providers.usage.shape import Tokens

__all__ = ["OpenAiEmbedCodec"]


class _Vector(msgspec.Struct):
    embedding: str | list[float]
    index: Annotated[int, msgspec.Meta(ge=0)] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None
    id: str | None = None  # of look-alikes


_decoder = msgspec.json.Decoder(_Answer)


class OpenAiEmbedCodec:
    """`POST /embeddings`. The base URL ends with the API version."""

    def texts_max(self, vendor_model_id: str) -> int:
        """The vendor's own bound."""
        return 2048

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """What the vectors are for is left out."""
        return Fit(drops=("purpose",) if embeds.purpose else ())

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        body: dict[str, object] = {
            "model": request.vendor_model_id,
            "input": request.texts,
            "encoding_format": "base64",
        }
        if request.embeds.dimensions:
            body["dimensions"] = request.embeds.dimensions
        return json_request("/embeddings", body)

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """Vectors say which text they belong to: their order is not relied on."""
        try:
            answer = _decoder.decode(body)
            vectors = _in_order(answer.data)
        except UNREADABLE as error:
            return broken(f"the answer is none: {error}")
        usage = told(answer.usage.prompt_tokens if answer.usage is not None else None)
        return answered(vectors, request, usage=usage, response_id=answer.id or "")


def _in_order(data: list[_Vector]) -> list[bytes]:
    places = [place if each.index is None else each.index for place, each in enumerate(data)]
    if sorted(places) != list(range(len(data))):
        raise ValueError("an index is missing, or there twice")
    vectors = [b""] * len(data)
    for place, each in zip(places, data, strict=True):
        vectors[place] = _numbers(each.embedding)
    return vectors


def _numbers(embedding: str | list[float]) -> bytes:
    if isinstance(embedding, list):
        return packed(embedding)
    try:
        return binascii.a2b_base64(embedding, strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"a vector is no base64: {error}") from None
