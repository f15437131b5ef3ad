"""Tokens that a provider bills, in one normal form for every vendor."""

from collections.abc import Mapping

import msgspec

__all__ = ["TokenUsage"]


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts by class. Classes are parts of a total: input includes cached, output reasoning.

    `tool_calls` are those that the provider made itself and bills by the call, by tool.
    `exact` is False where harmost estimated because the provider said nothing.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_5m_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    tool_calls: Mapping[str, int] = {}
    exact: bool = True

    @property
    def total_tokens(self) -> int:
        """Input and output together: what a token budget counts."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_5m_input_tokens=self.cache_write_5m_input_tokens
            + other.cache_write_5m_input_tokens,
            cache_write_1h_input_tokens=self.cache_write_1h_input_tokens
            + other.cache_write_1h_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens + other.reasoning_output_tokens,
            audio_input_tokens=self.audio_input_tokens + other.audio_input_tokens,
            audio_output_tokens=self.audio_output_tokens + other.audio_output_tokens,
            tool_calls=_sum(self.tool_calls, other.tool_calls),
            exact=self.exact and other.exact,
        )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not one or not other:
        return one or other
    return {tool: one.get(tool, 0) + other.get(tool, 0) for tool in sorted({*one, *other})}
