"""Bedrock's `InvokeModel` for vectors: Amazon's Titan, and Cohere's models.

Source: Amazon Bedrock user guide, "Amazon Titan Embeddings models" and "Cohere Embed". Titan takes one
text a call. Cohere's answers do not say what was counted: that is estimated.
"""

from urllib.parse import quote

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
from harmost.core.providers.embed_cohere import TEXTS_MAX, cohere_answer, cohere_body
from harmost.core.providers.failures import UNREADABLE, broken
from harmost.core.providers.usage.shape import Tokens

__all__ = ["BedrockEmbedCodec"]

_COHERE = "cohere.embed"
_TITAN = "titan-embed-text"
_TITAN_ONE = "titan-embed-text-v1"  # has one length of vectors


class _Titan(msgspec.Struct, rename="camel"):
    embedding: list[float]
    input_text_token_count: Tokens | None = None


_titan_decoder = msgspec.json.Decoder(_Titan)


class BedrockEmbedCodec:
    """`POST /model/{id}/invoke`. Which body a model takes is known by its id."""

    def texts_max(self, vendor_model_id: str) -> int:
        """Titan takes one."""
        return TEXTS_MAX if _COHERE in vendor_model_id else 1

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """Titan does not ask what its vectors are for; other vendors' models have no form here."""
        if _COHERE in vendor_model_id:
            return Fit()
        if _TITAN not in vendor_model_id:
            return Fit(lacks=("a model that is neither Titan's nor Cohere's",))
        lacks = ("dimensions",) if embeds.dimensions and _TITAN_ONE in vendor_model_id else ()
        return Fit(lacks=lacks, drops=("purpose",) if embeds.purpose else ())

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`."""
        path = f"/model/{quote(request.vendor_model_id, safe='')}/invoke"
        if _COHERE in request.vendor_model_id:
            return json_request(path, cohere_body(request))
        body: dict[str, object] = {"inputText": request.texts[0]}
        if request.embeds.dimensions:
            body["dimensions"] = request.embeds.dimensions
        return json_request(path, body)

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """One vector of Titan's, or Cohere's in the order of the texts."""
        if _COHERE in request.vendor_model_id:
            return cohere_answer(body, request)
        try:
            answer = _titan_decoder.decode(body)
            vector = packed(answer.embedding)
        except UNREADABLE as error:
            return broken(f"the answer is none: {error}")
        return answered([vector], request, usage=told(answer.input_text_token_count))
