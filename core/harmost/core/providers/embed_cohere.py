"""Cohere's `/v2/embed`, and the shape of it that Bedrock keeps.

Source: cohere-ai/cohere-developer-experience, cohere-openapi.yaml, `/v2/embed`; Amazon Bedrock user guide,
"Cohere Embed". What the vectors are for must be said: documents, where the caller says nothing. A text
that is too long is an error, never cut.
"""

from typing import Annotated

import msgspec

from harmost.core.chat import EmbedPurpose, Embeds
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

__all__ = ["TEXTS_MAX", "CohereEmbedCodec", "cohere_answer", "cohere_body"]

TEXTS_MAX = 96
_PURPOSES: dict[EmbedPurpose, str] = {
    "": "search_document",
    "document": "search_document",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
}
_Tokens = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]  # Cohere counts in numbers


class _Vectors(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float")


class _Units(msgspec.Struct):
    input_tokens: _Tokens | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    embeddings: _Vectors
    id: str = ""
    meta: _Meta | None = None


_decoder = msgspec.json.Decoder(_Answer)


class CohereEmbedCodec:
    """`POST /v2/embed`. The base URL ends before the API version."""

    def texts_max(self, vendor_model_id: str) -> int:
        """The vendor's own bound."""
        return TEXTS_MAX

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """All can be said."""
        return Fit()

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        return json_request("/v2/embed", {"model": request.vendor_model_id, **cohere_body(request)})

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """Vectors in the order of the texts."""
        return cohere_answer(body, request)


def cohere_body(request: EmbedRequest) -> dict[str, object]:
    """All of a request's body but the model."""
    body: dict[str, object] = {
        "texts": request.texts,
        "input_type": _PURPOSES[request.embeds.purpose],
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    if request.embeds.dimensions:
        body["output_dimension"] = request.embeds.dimensions
    return body


def cohere_answer(body: bytes, request: EmbedRequest) -> EmbedAnswer:
    """What an answer by type means."""
    try:
        answer = _decoder.decode(body)
        vectors = [packed(numbers) for numbers in answer.embeddings.floats]
    except UNREADABLE as error:
        return broken(f"the answer is none: {error}")
    units = answer.meta.billed_units if answer.meta is not None else None
    tokens = units.input_tokens if units is not None else None
    usage = told(None if tokens is None else int(tokens))
    return answered(vectors, request, usage=usage, response_id=answer.id)
