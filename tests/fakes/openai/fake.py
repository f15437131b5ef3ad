"""OpenAI: `POST /v1/chat/completions` and `POST /v1/responses`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fakes.openai.chat import chunks, completion
from fakes.openai.refusals import REFUSALS, Refusal, body_of
from fakes.openai.requests import Chat, Refused, read
from fakes.openai.responses import events, failed, response
from fakes.openai.responses_requests import Responses
from fakes.serve import Answer, Fake, Reply, Seen

__all__ = ["UNOFFERED", "OpenAiFake", "sse"]

UNOFFERED: Mapping[str, str] = {
    "timeout": 'platform.openai.com, guide "Error codes": neither 408 nor 504 is listed',
}


@dataclass
class OpenAiFake(Fake):
    """The vendor. `headers` are sent besides its own, over them."""

    key: str = "sk-fake"
    headers: dict[str, str] = field(default_factory=dict)

    def reply(self, seen: Seen) -> Reply:
        """As `Fake.reply`."""
        answered = self._answered(seen)
        return answered._replace(headers={**answered.headers, **self._headers(), **self.headers})

    def _answered(self, seen: Seen) -> Reply:
        answer_to = {"/v1/chat/completions": self._chat, "/v1/responses": self._responses}.get(
            self._routed(seen)
        )
        if seen.method != "POST" or answer_to is None:
            return self._unknown(seen)
        if not self._is_authorized(seen):
            return _refused(REFUSALS["unauthorized"])
        try:
            return answer_to(seen.body)
        except Refused as error:
            why = Refusal(400, error.message, "invalid_request_error", error.code, error.param)
            return _refused(why)

    def _routed(self, seen: Seen) -> str:
        return seen.path

    def _unknown(self, seen: Seen) -> Reply:
        where = f"Invalid URL ({seen.method} {seen.path})"
        return _refused(Refusal(404, where, "invalid_request_error"))

    def _is_authorized(self, seen: Seen) -> bool:
        said = seen.headers.get("authorization")
        return self.fault != "unauthorized" and said == f"Bearer {self.key}"

    def _chat(self, body: bytes) -> Reply:
        request: Chat = read(body, Chat)
        request.check()
        refusal = REFUSALS.get(self.fault)
        if refusal is not None:
            return _refused(refusal)
        if request.stream:
            told = self._chunks(chunks(request, self._said))
            return sse((("", chunk) for chunk in told), done=True)
        return Reply.of(self._completion(completion(request, self._said)))

    def _chunks(self, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return chunks

    def _completion(self, completion: dict[str, Any]) -> dict[str, Any]:
        return completion

    def _responses(self, body: bytes) -> Reply:
        request: Responses = read(body, Responses)
        request.check()
        refusal = REFUSALS.get(self.fault)
        if refusal is not None and request.stream and self.fault == "context_too_long":
            # Unlike in chat.completions, the answer has begun when it is noticed.
            return _named(failed(request, refusal))
        if refusal is not None:
            return _refused(refusal)
        if request.stream:
            return _named(events(request, self._said))
        return Reply.of(response(request, self._said))

    @property
    def _said(self) -> Answer:
        if self.fault == "filtered":
            return replace(self.answer, finish="content_filter")
        return self.answer

    def _headers(self) -> Mapping[str, str]:
        told = {
            "x-request-id": "req_7f3c",
            "openai-version": "2020-10-01",
            "openai-organization": "org-x",
            "openai-processing-ms": "42",
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-remaining-tokens": "29000",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-reset-tokens": "2s",
        }
        if self.fault == "throttled":
            told["x-ratelimit-remaining-requests"] = "0"
            told["retry-after"] = str(self.retry_after_s)
            told["retry-after-ms"] = str(self.retry_after_s * 1000)
        return told


def sse(events: Iterable[tuple[str, dict[str, Any]]], *, done: bool) -> Reply:
    """A stream of `events`, each with its name; `done`: it ends with `[DONE]`."""
    told = [
        (f"event: {name}\n" if name else "")
        + f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
        for name, data in events
    ]
    if done:
        told.append("data: [DONE]\n\n")
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Reply(200, headers, [each.encode() for each in told])


def _named(events: Iterable[dict[str, Any]]) -> Reply:
    return sse(((event["type"], event) for event in events), done=False)


def _refused(refusal: Refusal) -> Reply:
    return Reply.of(body_of(refusal), refusal.status)
