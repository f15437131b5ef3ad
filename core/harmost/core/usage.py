"""Tokens that a provider bills, in one normal form for every vendor."""

import msgspec

__all__ = ["TokenUsage"]


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts by class. Classes are parts of a total: input includes cached, output reasoning.

    `exact` is False where harmost estimated because the provider said nothing.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_5m_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
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
            exact=self.exact and other.exact,
        )
