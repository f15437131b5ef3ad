"""Anthropic's `POST /v1/messages`, versions 2023-06-01 and 2026-10-21: what it checks, answers and refuses.

Source: docs.anthropic.com, "Errors", "Rate limits", "Versioning".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fakes.anthropic.answer import events, message
from fakes.anthropic.request import LATER, OLDER, problem, request_of
from fakes.serve import Fake, Fault, Reply, Seen

__all__ = ["KEY", "AnthropicFake"]

KEY = "sk-ant-api03-fake"
REQUEST_ID = "req_01FakeFakeFakeFakeFake01"

_REFUSALS: Mapping[Fault, tuple[int, str, str]] = {
    "bad_request": (
        400,
        "invalid_request_error",
        "messages.0.content: Input should be a valid list",
    ),
    "unauthorized": (401, "authentication_error", "invalid x-api-key"),
    "not_found": (404, "not_found_error", "model: claude-fake-5"),
    "throttled": (
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute.",
    ),
    "server_error": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "timeout": (504, "timeout_error", "Request timed out"),
    "context_too_long": (
        400,
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ),
    "filtered": (400, "invalid_request_error", "Output blocked by content filtering policy"),
}
# The forms that money's end has.
_QUOTA = {
    "billing": (
        402,
        "billing_error",
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
        None,
    ),
    "spend_limit": (
        429,
        "rate_limit_error",
        "You have reached your specified API usage limits.",
        {"error_code": "enforced_spend_limit_reached"},
    ),
}


@dataclass
class AnthropicFake(Fake):
    """`quota` says which form that fault has; `inside`: a refusal comes as an event of a stream that began."""

    quota: Literal["billing", "spend_limit"] = "billing"
    inside: bool = False

    def reply(self, seen: Seen) -> Reply:
        """The vendor's answer."""
        version = seen.headers.get("anthropic-version", "")
        if seen.method != "POST" or seen.path != "/v1/messages":
            return self._refuse(404, "not_found_error", "Not found")
        if refused := self._unknown(seen, version):
            return refused
        request = request_of(seen.body)
        if isinstance(request, str):
            return self._refuse(400, "invalid_request_error", request)
        if said := problem(request, version):
            return self._refuse(400, "invalid_request_error", said)
        if self.fault and not self.inside and (refused := self._fault()):
            return refused
        if not request.stream:
            return Reply.of(message(self.answer, request), **self._headers())
        pieces = events(self.answer, request)
        if self.inside and (refused := self._fault()):
            error = b"event: error\ndata: " + b"".join(refused.pieces) + b"\n\n"
            pieces = [*pieces[: len(pieces) // 2], error]
        headers = {"content-type": "text/event-stream; charset=utf-8", **_named(self._headers())}
        return Reply(200, headers, pieces)

    def _unknown(self, seen: Seen, version: str) -> Reply | None:
        """The refusal of who does not say which version, and who it is as that version wants it."""
        if not version:
            words = "anthropic-version: header is required"
            return self._refuse(400, "invalid_request_error", words)
        if version not in (OLDER, LATER):
            words = f'anthropic-version: "{version}" is not a valid version'
            return self._refuse(400, "invalid_request_error", words)
        bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
        key = bearer if version == LATER else seen.headers.get("x-api-key", "")
        if key != KEY:
            words = "invalid bearer token" if version == LATER else "invalid x-api-key"
            return self._refuse(401, "authentication_error", words)
        return None

    def _fault(self) -> Reply | None:
        if self.fault == "quota":
            status, kind, words, details = _QUOTA[self.quota]
            return self._refuse(status, kind, words, details)
        if self.fault in _REFUSALS:
            return self._refuse(*_REFUSALS[self.fault])
        return None

    def _refuse(
        self, status: int, kind: str, words: str, details: Mapping[str, str] | None = None
    ) -> Reply:
        error: dict[str, object] = {"type": kind, "message": words}
        if details is not None:
            error["details"] = details
        body = {"type": "error", "error": error, "request_id": REQUEST_ID}
        headers = self._headers()
        if self.fault == "throttled" and status == 429:
            headers["retry_after"] = str(self.retry_after_s)
        return Reply.of(body, status, **headers)

    def _headers(self) -> dict[str, str]:
        left = "0" if self.fault == "throttled" else "29000"
        limits = {
            "requests": "50",
            "tokens": "38000",
            "input_tokens": "30000",
            "output_tokens": "8000",
        }
        headers = {"request_id": REQUEST_ID, "anthropic_organization_id": "org-fake"}
        for name, limit in limits.items():
            headers[f"anthropic_ratelimit_{name}_limit"] = limit
            headers[f"anthropic_ratelimit_{name}_remaining"] = min(left, limit, key=int)
            headers[f"anthropic_ratelimit_{name}_reset"] = "2026-11-25T00:00:00Z"
        return headers


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
