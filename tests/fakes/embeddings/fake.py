"""Answers requests for vectors as the vendors do, each at its own path.

Sources: openai/openai-openapi, `CreateEmbeddingRequest`; cohere-openapi.yaml, `/v2/embed`; googleapis,
`BatchEmbedContentsRequest`; Vertex AI, "Text embeddings API"; Amazon Bedrock user guide, "Amazon Titan
Embeddings models" and "Cohere Embed". A field that the vendor does not know is refused.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fakes.serve import Fake, Reply, Seen

__all__ = ["KEY", "EmbeddingsFake", "vector"]

KEY = "fake-key"
_DIMENSIONS = 4
_COHERE_PURPOSES = {"search_document", "search_query", "classification", "clustering"}
_GOOGLE_PURPOSES = {"RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY", "CLASSIFICATION", "CLUSTERING"}


def vector(text: str, dimensions: int = _DIMENSIONS) -> list[float]:
    """Of float32 numbers: the length of `text` in bytes, then halves of the one before."""
    return [len(text.encode()) / 2**power for power in range(dimensions)]


class _Wrong(Exception):
    """The vendor refuses it, with these words."""


@dataclass
class EmbeddingsFake(Fake):
    """`tokens` is what is billed of a call; None: nothing is told."""

    tokens: int | None = 7
    texts: list[Sequence[str]] = field(default_factory=list)  # of each call

    def reply(self, seen: Seen) -> Reply:
        """The vendor's answer: which one is told by the path."""
        path = unquote(seen.path)
        if KEY not in str(seen.headers):
            return Reply.of({"error": {"message": "no such key", "code": 401}}, 401)
        if self.fault == "throttled":
            said = {"error": {"message": "slow down", "type": "requests", "code": 429}}
            return Reply.of(said, 429, retry_after=str(self.retry_after_s))
        try:
            return Reply.of(self._answer(path, seen.query, seen.json))
        except (_Wrong, KeyError, TypeError) as error:
            words = f"invalid request: {error}"
            return Reply.of({"error": {"message": words, "code": 400}, "message": words}, 400)

    def _answer(self, path: str, query: Mapping[str, str], body: Any) -> object:
        if path.endswith("/embeddings"):
            if path.startswith("/openai/deployments/") and "api-version" not in query:
                raise _Wrong("Missing required query parameter: api-version")
            return self._openai(body)
        if path.endswith("/v2/embed"):
            return {**self._cohere(body, extra={"model"}), "meta": self._cohere_meta()}
        if path.endswith(":batchEmbedContents"):
            return self._gemini(body)
        if path.endswith(":predict"):
            return self._vertex(body)
        if path.endswith("/invoke") and "cohere" in path:
            return self._cohere(body, extra=set())
        if path.endswith("/invoke"):
            return self._titan(body)
        raise _Wrong(f"nothing is at {path}")

    def _openai(self, body: Any) -> object:
        _only(body, "model", "input", "encoding_format", "dimensions", "user")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self._read(texts, 2048)
        vectors = [vector(text, body.get("dimensions", _DIMENSIONS)) for text in texts]
        written: list[object] = list(vectors)
        if body.get("encoding_format") == "base64":
            written = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
        data = [
            {"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(written)
        ]
        said: dict[str, object] = {"object": "list", "data": data, "model": body["model"]}
        if self.tokens is not None:
            said["usage"] = {"prompt_tokens": self.tokens, "total_tokens": self.tokens}
        return said

    def _cohere(self, body: Any, *, extra: set[str]) -> dict[str, object]:
        fields = ("texts", "input_type", "embedding_types", "truncate", "output_dimension")
        _only(body, *fields, *extra)
        if body["input_type"] not in _COHERE_PURPOSES or body["embedding_types"] != ["float"]:
            raise _Wrong("input_type or embedding_types")
        self._read(body["texts"], 96)
        size = body.get("output_dimension", _DIMENSIONS)
        floats = [vector(text, size) for text in body["texts"]]
        return {
            "id": "e-1",
            "response_type": "embeddings_by_type",
            "embeddings": {"float": floats},
            "texts": body["texts"],
        }

    def _cohere_meta(self) -> object:
        billed = {} if self.tokens is None else {"billed_units": {"input_tokens": self.tokens}}
        return {"api_version": {"version": "2"}, **billed}

    def _gemini(self, body: Any) -> object:
        _only(body, "requests")
        found: list[object] = []
        for each in body["requests"]:
            _only(each, "model", "content", "taskType", "outputDimensionality", "title")
            if each.get("taskType", "CLUSTERING") not in _GOOGLE_PURPOSES:
                raise _Wrong("taskType")
            (part,) = each["content"]["parts"]
            size = each.get("outputDimensionality", _DIMENSIONS)
            found.append({"values": vector(part["text"], size)})
        self._read([e["content"]["parts"][0]["text"] for e in body["requests"]], 100)
        return {"embeddings": found}

    def _vertex(self, body: Any) -> object:
        _only(body, "instances", "parameters")
        parameters = body.get("parameters") or {}
        _only(parameters, "autoTruncate", "outputDimensionality")
        found: list[object] = []
        for each in body["instances"]:
            _only(each, "content", "task_type", "title")
            size = parameters.get("outputDimensionality", _DIMENSIONS)
            statistics = {"token_count": self.tokens, "truncated": False}
            said = {"values": vector(each["content"], size), "statistics": statistics}
            found.append({"embeddings": said})
        self._read([each["content"] for each in body["instances"]], 250)
        return {"predictions": found}

    def _titan(self, body: Any) -> object:
        _only(body, "inputText", "dimensions", "normalize", "embeddingTypes")
        self._read([body["inputText"]], 1)
        numbers = vector(body["inputText"], body.get("dimensions", _DIMENSIONS))
        return {
            "embedding": numbers,
            "embeddingsByType": {"float": numbers},
            "inputTextTokenCount": self.tokens,
        }

    def _read(self, texts: Sequence[str], most: int) -> None:
        if not texts or len(texts) > most or not all(texts):
            raise _Wrong(f"{len(texts)} texts")
        self.texts.append(list(texts))


def _only(body: Any, *names: str) -> None:
    unknown = set(body) - set(names)
    if unknown:
        raise _Wrong(f"unknown {sorted(unknown)}")
