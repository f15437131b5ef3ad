"""Google's generateContent as AI Studio serves it; Vertex is made of it.

Source: googleapis, google/ai/generativelanguage/v1beta/generative_service.proto; ai.google.dev,
"Troubleshooting" and "Rate limits". Seals are made by the fake; only their form is checked.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from fakes.gemini.request import Refused, checked
from fakes.serve import Fake, Fault, Reply, Seen

__all__ = ["KEY", "MODEL", "SIGNATURE", "GeminiFake"]

KEY = "AIza-the-fake-s-key"
MODEL = "gemini-3-flash"
SIGNATURE = b64encode(b"what it thought").decode()

_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_REFUSALS: Mapping[Fault, tuple[int, str, str]] = {
    "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "not_found": (404, "NOT_FOUND", "models/m is not found for API version v1beta."),
    "server_error": (500, "INTERNAL", "An internal error has occurred."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "timeout": (504, "DEADLINE_EXCEEDED", "The service is unable to finish within the deadline."),
    "context_too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
    ),
}
# It says so of minutes and days alike: only `quotaId` tells which.
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)


def refusal(status: int, name: str, message: str, *details: Mapping[str, Any]) -> Reply:
    """google.rpc.Status in JSON."""
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = [
            {"@type": f"type.googleapis.com/google.rpc.{detail['type']}", **detail["fields"]}
            for detail in details
        ]
    return Reply.of({"error": error}, status)


def info(reason: str) -> Mapping[str, Any]:
    """google.rpc.ErrorInfo."""
    fields = {"reason": reason, "domain": "googleapis.com"}
    return {"type": "ErrorInfo", "fields": fields}


class GeminiFake(Fake):
    """`/v1` and `/v1beta`; the key is `KEY`."""

    path = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<method>\w+)")

    def reply(self, seen: Seen) -> Reply:
        """The vendor's answer."""
        refused = self.refused_key(seen)
        if refused is not None:
            return refused
        asked = self.path.fullmatch(seen.path)
        if asked is None or asked["method"] not in ("generateContent", "streamGenerateContent"):
            return Reply(
                404, {"content-type": "text/html"}, (b"<title>Error 404 (Not Found)</title>",)
            )
        try:
            checked(seen.body, model=asked["model"])
        except Refused as error:
            return refusal(400, "INVALID_ARGUMENT", str(error))
        if self.fault in _REFUSALS:
            return refusal(*_REFUSALS[self.fault])
        if self.fault in ("throttled", "quota"):
            return self.exhausted()
        if self.fault == "filtered":
            blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
            counts = {"promptTokenCount": 5, "totalTokenCount": 5}
            chunks = [{**blocked, "usageMetadata": counts, **self.names(asked["model"])}]
        else:
            chunks = list(self.chunks(asked["model"]))
        if asked["method"] == "generateContent":
            return Reply.of(_whole(chunks))
        return _streamed(chunks, sse=seen.query.get("alt") == "sse")

    def refused_key(self, seen: Seen) -> Reply | None:
        """A key that is not valid is the request's fault here, not 401."""
        key = seen.headers.get("x-goog-api-key") or seen.query.get("key")
        if key is None:
            message = (
                "Method doesn't allow unregistered callers (callers without established identity)."
            )
            return refusal(403, "PERMISSION_DENIED", message)
        if key != KEY or self.fault == "unauthorized":
            message = "API key not valid. Please pass a valid API key."
            return refusal(400, "INVALID_ARGUMENT", message, info("API_KEY_INVALID"))
        return None

    def exhausted(self) -> Reply:
        """A quota of a minute, with the delay until it comes back, or of a day."""
        window = "Minute" if self.fault == "throttled" else "Day"
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": f"GenerateRequestsPer{window}PerProjectPerModel-FreeTier",
            "quotaValue": "10",
        }
        failure = {"type": "QuotaFailure", "fields": {"violations": [violation]}}
        delay = {"type": "RetryInfo", "fields": {"retryDelay": f"{self.retry_after_s}s"}}
        return refusal(429, "RESOURCE_EXHAUSTED", _QUOTA, failure, delay)

    def names(self, model: str) -> dict[str, str]:
        """What every chunk says of itself."""
        return {"modelVersion": model, "responseId": f"r{len(self.seen)}"}

    def chunks(self, model: str) -> Iterator[dict[str, Any]]:
        """The answer: thoughts, words in two, calls; usage counts along and the last chunk ends it."""
        pieces = list(self.parts(model))
        for at, part in enumerate(pieces):
            last = at == len(pieces) - 1
            candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
            if last:
                candidate["finishReason"] = _FINISH[self.answer.finish]
            yield {
                "candidates": [candidate],
                "usageMetadata": self.usage(whole=last),
                **self.names(model),
            }

    def parts(self, model: str) -> Iterator[dict[str, Any]]:
        """Of the answer. Models that think put a seal on their first call, or on their last words."""
        answer = self.answer
        thinks = not model.startswith(("gemini-1", "gemini-2")) or bool(answer.reasoning)
        if answer.reasoning:
            yield {"text": answer.reasoning, "thought": True}
        middle = len(answer.text) // 2
        for text in filter(None, (answer.text[:middle], answer.text[middle:])):
            yield {"text": text}
        for at, call in enumerate(answer.calls):
            function: dict[str, Any] = {"name": call.name, "args": json.loads(call.arguments_json)}
            if call.call_id:
                function["id"] = call.call_id
            seal = {"thoughtSignature": SIGNATURE} if thinks and not at else {}
            yield {"functionCall": function, **seal}
        if answer.reasoning and not answer.calls:
            yield {"text": "", "thoughtSignature": SIGNATURE}
        elif not answer.text and not answer.calls:
            yield {"text": ""}

    def usage(self, *, whole: bool) -> dict[str, Any]:
        """Thoughts are beside the candidates' tokens; what is zero is left out, as in proto JSON."""
        answer = self.answer
        words = answer.output_tokens - answer.reasoning_tokens if whole else 1
        counts = {
            "promptTokenCount": answer.input_tokens,
            "cachedContentTokenCount": answer.cached_tokens,
            "candidatesTokenCount": words,
            "thoughtsTokenCount": answer.reasoning_tokens,
            "totalTokenCount": answer.input_tokens + words + answer.reasoning_tokens,
        }
        details = [{"modality": "TEXT", "tokenCount": answer.input_tokens}]
        return {k: v for k, v in counts.items() if v} | {"promptTokensDetails": details}


def _whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chunks of a stream as the one answer that they are; its texts are joined."""
    if "candidates" not in chunks[-1]:
        return chunks[-1]
    parts: list[dict[str, Any]] = []
    for chunk in chunks:
        for part in chunk["candidates"][0]["content"]["parts"]:
            if parts and part.keys() == parts[-1].keys() == {"text"}:
                parts[-1] = {"text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
    last = chunks[-1]["candidates"][0]
    return {**chunks[-1], "candidates": [{**last, "content": {"parts": parts, "role": "model"}}]}


def _streamed(chunks: list[dict[str, Any]], *, sse: bool) -> Reply:
    """Events; without `alt=sse` a list that is written as it comes."""
    written = [json.dumps(chunk, ensure_ascii=False).encode() for chunk in chunks]
    if sse:
        events = [b"data: " + chunk + b"\r\n\r\n" for chunk in written]
        return Reply(200, {"content-type": "text/event-stream"}, events)
    heads = [b"[", *(b",\r\n" for _ in written[1:])]
    pieces = [head + chunk for head, chunk in zip(heads, written, strict=True)]
    return Reply(200, {"content-type": "application/json"}, (*pieces, b"]"))
