"""OpenAI's embeddings as its official client believes them. The same text has the same vector.

Source: openai/openai-openapi, `CreateEmbeddingRequest` and `CreateEmbeddingResponse`.
"""

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from struct import pack, unpack
from typing import Annotated, Literal

import msgspec

from harmost.services.sandbox.openai import OpenAiShape
from harmost.services.sandbox.shape import Answer, Ask, BadRequest

__all__ = ["EmbeddingsShape"]

# Numbers of a vector when nobody says how many.
_DIMENSIONS = 256
_Input = Annotated[str, msgspec.Meta(min_length=1)]


class _Request(msgspec.Struct):
    model: str
    input: _Input | Annotated[list[_Input], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] = _DIMENSIONS


_decoder = msgspec.json.Decoder(_Request)


class EmbeddingsShape(OpenAiShape):
    """`Shape` of `/openai/v1/embeddings`: nothing is written but the whole answer, of no output tokens."""

    def ask(self, body: bytes, headers: Mapping[str, str]) -> Ask:
        """Read a request, and make its vectors. Raises BadRequest."""
        try:
            request = _decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadRequest(f"invalid request: {error}") from None
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors = [_vector(text, request.dimensions) for text in texts]
        data = [
            {"object": "embedding", "index": index, "embedding": _written(vector, request)}
            for index, vector in enumerate(vectors)
        ]
        return Ask(
            model=request.model,
            texts=texts,
            directives=texts,
            output_tokens_max=0,
            stream=False,
            usage_asked=True,
            data=msgspec.json.encode(data),
        )

    def whole(self, answer: Answer, text: bytes) -> bytes:
        """The body of an answer."""
        body: dict[str, object] = {
            "object": "list",
            "data": msgspec.Raw(answer.data),
            "model": answer.model,
        }
        if answer.usage is not None:
            prompt, _ = answer.usage
            body["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt}
        return msgspec.json.encode(body)


def _vector(text: str, dimensions: int) -> Sequence[float]:
    """Of length 1, and drawn by the text alone."""
    drawn = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    numbers = unpack(f"<{dimensions}h", drawn)
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


def _written(vector: Sequence[float], request: _Request) -> object:
    if request.encoding_format == "float":
        return vector
    return b64encode(pack(f"<{len(vector)}f", *vector)).decode()
