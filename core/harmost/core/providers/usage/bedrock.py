"""Usage of Bedrock Converse: cached input is counted beside `inputTokens`.

Source: botocore, bedrock-runtime/2023-09-30/service-2.json, `TokenUsage`, and the AWS guide "Prompt
caching": total input is inputTokens + cacheReadInputTokens + cacheWriteInputTokens.
"""

import msgspec

from harmost.core.providers.usage.shape import Tokens, consistent
from harmost.core.usage import TokenUsage

__all__ = ["BedrockUsage"]


class _CacheDetail(msgspec.Struct, rename="camel"):
    ttl: str = ""
    input_tokens: Tokens | None = None


class BedrockUsage(msgspec.Struct, rename="camel"):
    """`usage` of Converse, and of the event `metadata` of ConverseStream."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_write_input_tokens: Tokens | None = None
    cache_details: list[_CacheDetail] = []

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        cached = self.cache_read_input_tokens or 0
        one_hour = sum(d.input_tokens or 0 for d in self.cache_details if d.ttl == "1h")
        written = max(self.cache_write_input_tokens or 0, one_hour)
        return consistent(
            TokenUsage(
                input_tokens=self.input_tokens + cached + written,
                cached_input_tokens=cached,
                cache_write_5m_input_tokens=written - one_hour,
                cache_write_1h_input_tokens=one_hour,
                output_tokens=self.output_tokens,
                exact=exact,
            )
        )
