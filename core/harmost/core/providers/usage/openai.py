"""OpenAI's usage, of chat.completions with what look-alikes add to it, and of Responses.

Cached input and reasoning are parts of the totals. Look-alikes differ: DeepSeek and Moonshot say
cached input beside the details, xAI and others count reasoning beside the completion, so that only
the total holds both.
"""

import msgspec

from harmost.core.providers.usage.shape import Tokens, consistent
from harmost.core.usage import TokenUsage

__all__ = ["ChatUsage", "ResponsesUsage"]


class _InputDetails(msgspec.Struct):
    cached_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    audio_tokens: Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Tokens | None = None
    audio_tokens: Tokens | None = None


class ChatUsage(msgspec.Struct):
    """`usage` of chat.completions. Source: openai/openai-openapi, `CompletionUsage`."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    total_tokens: Tokens | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: Tokens | None = None  # DeepSeek's
    cached_tokens: Tokens | None = None  # Moonshot's

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None  # absent is not zero
        details = self.prompt_tokens_details or _InputDetails()
        cached = (details.cached_tokens, self.prompt_cache_hit_tokens, self.cached_tokens)
        return _normal(
            self.prompt_tokens,
            max(self.completion_tokens, (self.total_tokens or 0) - self.prompt_tokens),
            msgspec.structs.replace(details, cached_tokens=max(c or 0 for c in cached)),
            self.completion_tokens_details or _OutputDetails(),
            exact=exact,
        )


class ResponsesUsage(msgspec.Struct):
    """`usage` of Responses. Source: openai/openai-openapi, `ResponseUsage`."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return _normal(
            self.input_tokens,
            self.output_tokens,
            self.input_tokens_details or _InputDetails(),
            self.output_tokens_details or _OutputDetails(),
            exact=exact,
        )


def _normal(
    input_tokens: int,
    output_tokens: int,
    input_details: _InputDetails,
    output_details: _OutputDetails,
    *,
    exact: bool,
) -> TokenUsage:
    cached = input_details.cached_tokens or 0
    written = input_details.cache_write_tokens or 0
    return consistent(
        TokenUsage(
            input_tokens=input_tokens,
            cached_input_tokens=cached,
            cache_write_5m_input_tokens=written,
            # Cached audio is told as both: the rest of it is what is billed as audio.
            audio_input_tokens=min(
                input_details.audio_tokens or 0, max(input_tokens - cached - written, 0)
            ),
            output_tokens=output_tokens,
            reasoning_output_tokens=output_details.reasoning_tokens or 0,
            audio_output_tokens=output_details.audio_tokens or 0,
            exact=exact,
        )
    )
