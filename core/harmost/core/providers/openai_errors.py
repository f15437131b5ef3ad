"""How OpenAI says that something failed, in each of its formats and at Azure.

Source: platform.openai.com, guide "Error codes"; openai/openai-openapi, `ResponseError`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from harmost.core.providers.codec import ProviderError, ProviderErrorKind
from harmost.core.providers.failures import UNREADABLE, retry_after_s, stated

__all__ = ["refused", "stated_by_openai"]

_KINDS: Mapping[str, ProviderErrorKind] = {
    "rate_limit_exceeded": "throttled",
    "rate_limit_error": "throttled",
    "slow_down": "throttled",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "invalid_request_error": "rejected",
    "model_not_found": "not_found",
    "invalid_prompt": "content_filtered",  # it was flagged
    "bio_policy": "content_filtered",
    "misalignment_policy_violation": "content_filtered",
    "invalid_image": "rejected",
    "invalid_image_format": "rejected",
    "invalid_base64_image": "rejected",
    "invalid_image_url": "rejected",
    "image_too_large": "rejected",
    "image_too_small": "rejected",
    "image_parse_error": "rejected",
    "invalid_image_mode": "rejected",
    "image_file_too_large": "rejected",
    "unsupported_image_media_type": "rejected",
    "empty_image_file": "rejected",
    "failed_to_download_image": "rejected",
    "image_file_not_found": "rejected",
}


class _ErrorBody(msgspec.Struct):
    error: Any = None


_decoder = msgspec.json.Decoder(_ErrorBody)


def stated_by_openai(error: Any) -> ProviderError:
    """What an `error` inside a stream means."""
    return stated(error, kinds=_KINDS)


def refused(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """What an answer that is no stream means. `headers` in lower case."""
    try:
        error = _decoder.decode(body).error
    except UNREADABLE:
        error = None
    return stated(error, kinds=_KINDS, status=status, retry_after_s=retry_after_s(headers))
