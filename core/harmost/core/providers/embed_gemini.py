"""Gemini's `:batchEmbedContents`, and Vertex's `:predict`.

Source: googleapis, `google/ai/generativelanguage/v1beta`, `BatchEmbedContentsRequest`; Vertex AI, "Text
embeddings API". AI Studio does not say what it counted: that is estimated. On Vertex a text that is too
long is an error, never cut.
"""

from urllib.parse import quote

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
from harmost.core.providers.usage.shape import Tokens

__all__ = ["GeminiEmbedCodec", "VertexEmbedCodec"]

_PURPOSES: dict[EmbedPurpose, str] = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}


class _Statistics(msgspec.Struct):
    token_count: Tokens | None = None


class _Vector(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Tokens | None = None


class _Batch(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: _Usage | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Vector


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


_batch_decoder = msgspec.json.Decoder(_Batch)
_predictions_decoder = msgspec.json.Decoder(_Predictions)


class GeminiEmbedCodec:
    """`POST /models/{model}:batchEmbedContents`. The base URL ends with the API version."""

    def texts_max(self, vendor_model_id: str) -> int:
        """The vendor's own bound."""
        return 100

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """All can be said."""
        return Fit()

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        said: dict[str, object] = {"model": f"models/{request.vendor_model_id}"}
        if request.embeds.purpose:
            said["taskType"] = _PURPOSES[request.embeds.purpose]
        if request.embeds.dimensions:
            said["outputDimensionality"] = request.embeds.dimensions
        requests = [{**said, "content": {"parts": [{"text": text}]}} for text in request.texts]
        path = f"/models/{quote(request.vendor_model_id, safe='')}:batchEmbedContents"
        return json_request(path, {"requests": requests})

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """Vectors in the order of the texts."""
        try:
            answer = _batch_decoder.decode(body)
            vectors = [packed(each.values) for each in answer.embeddings]
        except UNREADABLE as error:
            return broken(f"the answer is none: {error}")
        usage = answer.usage_metadata
        return answered(
            vectors, request, usage=told(usage.prompt_token_count if usage is not None else None)
        )


class VertexEmbedCodec:
    """`POST /models/{model}:predict`, below `…/publishers/google`."""

    def texts_max(self, vendor_model_id: str) -> int:
        """Gemini's own model takes one, the others 250."""
        return 1 if vendor_model_id.startswith("gemini-embedding") else 250

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """All can be said."""
        return Fit()

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        said: dict[str, object] = {}
        if request.embeds.purpose:
            said["task_type"] = _PURPOSES[request.embeds.purpose]
        parameters: dict[str, object] = {"autoTruncate": False}
        if request.embeds.dimensions:
            parameters["outputDimensionality"] = request.embeds.dimensions
        return json_request(
            f"/models/{quote(request.vendor_model_id, safe='')}:predict",
            {
                "instances": [{**said, "content": text} for text in request.texts],
                "parameters": parameters,
            },
        )

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """Vectors in the order of the texts, with the tokens of each."""
        try:
            found = [each.embeddings for each in _predictions_decoder.decode(body).predictions]
            vectors = [packed(each.values) for each in found]
        except UNREADABLE as error:
            return broken(f"the answer is none: {error}")
        counts = [each.statistics.token_count for each in found if each.statistics is not None]
        known = [count for count in counts if count is not None]
        usage = told(sum(known) if len(known) == len(found) else None)
        return answered(vectors, request, usage=usage)
