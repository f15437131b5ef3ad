"""Anthropic's usage: cached input is counted beside `input_tokens`, and thinking within the output.

Source: docs.anthropic.com, API reference "Messages", object `usage`.
"""

import msgspec

from harmost.core.providers.usage.shape import Tokens, ToolCalls, consistent
from harmost.core.usage import TokenUsage

__all__ = ["AnthropicUsage"]


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Tokens | None = None
    ephemeral_1h_input_tokens: Tokens | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: Tokens | None = None


class _ServerTools(msgspec.Struct):
    """Only what is billed by the call: fetching a page is not."""

    web_search_requests: ToolCalls | None = None


class AnthropicUsage(msgspec.Struct):
    """`usage` of a message, or of the events that tell it piece by piece."""

    input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Tokens | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ServerTools | None = None

    def lay(self, later: "AnthropicUsage") -> None:
        """Take over what `later` says: an event's counts replace those before."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        if self.input_tokens is None or self.output_tokens is None:
            return None  # absent is not zero
        split = self.cache_creation or _CacheCreation()
        one_hour = split.ephemeral_1h_input_tokens or 0
        five_minutes = split.ephemeral_5m_input_tokens or 0
        # Written to the cache without a lifetime: five minutes is the vendor's default.
        five_minutes = max(five_minutes, (self.cache_creation_input_tokens or 0) - one_hour)
        cached = self.cache_read_input_tokens or 0
        details = self.output_tokens_details or _OutputDetails()
        searches = self.server_tool_use.web_search_requests if self.server_tool_use else None
        return consistent(
            TokenUsage(
                input_tokens=self.input_tokens + five_minutes + one_hour + cached,
                cached_input_tokens=cached,
                cache_write_5m_input_tokens=five_minutes,
                cache_write_1h_input_tokens=one_hour,
                output_tokens=self.output_tokens,
                reasoning_output_tokens=details.thinking_tokens or 0,
                tool_calls={"web_search": searches} if searches else {},
                exact=exact,
            )
        )
