"""How OpenAI refuses: status and error, by fault.

Source: platform.openai.com, guide "Error codes"; statuses and words as seen in public reports.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fakes.serve import Fault

__all__ = ["REFUSALS", "Refusal", "body_of"]


class Refusal(NamedTuple):
    """An error and the status that it comes with."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


REFUSALS: Mapping[Fault, Refusal] = {
    "bad_request": Refusal(
        400,
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) "
        "value is supported.",
        "invalid_request_error",
        "unsupported_value",
        "temperature",
    ),
    "unauthorized": Refusal(
        401,
        "Incorrect API key provided: sk-wrong. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    "not_found": Refusal(
        404,
        "The model `gpt-x` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    "throttled": Refusal(
        429,
        "Rate limit reached for gpt-x in organization org-x on requests per min (RPM): Limit 3, Used "
        "3, Requested 1. Please try again in 7s.",
        "requests",
        "rate_limit_exceeded",
    ),
    "quota": Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more "
        "information on this error, read the docs.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "server_error": Refusal(
        500,
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
    ),
    "overloaded": Refusal(
        503, "The engine is currently overloaded, please try again later.", "server_error"
    ),
    "context_too_long": Refusal(
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 "
        "tokens. Please reduce the length of the messages.",
        "invalid_request_error",
        "context_length_exceeded",
        "messages",
    ),
}


def body_of(refusal: Refusal) -> dict[str, Any]:
    """`{"error": …}`."""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.type,
            "param": refusal.param,
            "code": refusal.code,
        }
    }
