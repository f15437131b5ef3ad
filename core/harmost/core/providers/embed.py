"""What a vendor's format for vectors offers: texts as a request, and its answer as packed numbers.

Beside a `Codec`, which has the credentials and the errors of the same vendor. An answer is one JSON
body, read whole. Vectors are kept as the wire has them, float32 in little-endian order: 4 bytes a
number, and no object for each.
"""

import math
from collections.abc import Mapping, Sequence
from struct import Struct, error, pack, unpack
from typing import Protocol, TypeAlias

import msgspec

from harmost.core.chat import Embeds
from harmost.core.providers.codec import Fit, HttpRequest, ProviderError
from harmost.core.providers.failures import broken
from harmost.core.usage import TokenUsage

__all__ = [
    "DIMENSIONS_MAX",
    "EmbedAnswer",
    "EmbedCodec",
    "EmbedRequest",
    "Embedded",
    "answered",
    "json_request",
    "packed",
    "told",
]

# Numbers of one vector, many times what any model gives.
DIMENSIONS_MAX = 65_536
_FLOAT_BYTES = Struct("<f").size


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt in neutral form; at least one text, none of them empty."""

    vendor_model_id: str
    texts: Sequence[str]
    embeds: Embeds = Embeds()


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """A vector for each text, in their order: all finite, all of one length. `usage` None: not told."""

    vectors: tuple[bytes, ...]
    usage: TokenUsage | None = None
    response_id: str = ""


EmbedAnswer: TypeAlias = Embedded | ProviderError


class EmbedCodec(Protocol):
    """One wire format for vectors."""

    def texts_max(self, vendor_model_id: str) -> int:
        """At most so many texts go into one request of the model."""
        ...

    def fit(self, vendor_model_id: str, embeds: Embeds) -> Fit:
        """What of it cannot be said in this format to the model."""
        ...

    def request(self, request: EmbedRequest) -> HttpRequest:
        """The request for `request`, which keeps `texts_max`."""
        ...

    def answer(self, body: bytes, request: EmbedRequest) -> EmbedAnswer:
        """What the body of a good answer to `request` means. Never raises for what is in it."""
        ...


def json_request(path: str, body: Mapping[str, object]) -> HttpRequest:
    """A request whose answer is JSON as well."""
    return HttpRequest(
        path=path,
        headers={"content-type": "application/json", "accept": "application/json"},
        body=msgspec.json.encode(body),
    )


def packed(numbers: Sequence[float]) -> bytes:
    """`numbers` as float32; ValueError for one that is beyond it."""
    try:
        return pack(f"<{len(numbers)}f", *numbers)
    except (OverflowError, error) as wrong:
        raise ValueError(f"a number is no float32: {wrong}") from None


def told(input_tokens: int | None) -> TokenUsage | None:
    """The usage of `input_tokens`; None: nothing is told. No text costs no tokens: 0 is no answer."""
    return TokenUsage(input_tokens=input_tokens) if input_tokens else None


def answered(
    vectors: Sequence[bytes],
    request: EmbedRequest,
    *,
    usage: TokenUsage | None,
    response_id: str = "",
) -> EmbedAnswer:
    """`vectors` if they are what `request` asked for; else what is wrong with them."""
    wrong = _wrong(vectors, request)
    if wrong:
        return broken(f"the answer is none: {wrong}")
    return Embedded(vectors=tuple(vectors), usage=usage, response_id=response_id)


def _wrong(vectors: Sequence[bytes], request: EmbedRequest) -> str:
    if len(vectors) != len(request.texts):
        return f"{len(vectors)} vectors for {len(request.texts)} texts"
    size = len(vectors[0])
    if size % _FLOAT_BYTES or not 0 < size <= DIMENSIONS_MAX * _FLOAT_BYTES:
        return f"a vector of {size} bytes"
    if any(len(vector) != size for vector in vectors):
        return "its vectors are not equally long"
    count = size // _FLOAT_BYTES
    if request.embeds.dimensions not in (0, count):
        return f"vectors of {count} numbers, and {request.embeds.dimensions} were asked for"
    # A sum is finite where every number is: no sum of so many float32 leaves a double.
    if not all(math.isfinite(sum(unpack(f"<{count}f", vector))) for vector in vectors):
        return "a number of a vector is not finite"
    return ""
