"""What the vendors' usage shapes have in common: bounded counts, and parts that fit their wholes."""

from typing import Annotated

import msgspec

from harmost.core.usage import TokenUsage

__all__ = ["ContradictoryUsage", "Tokens", "ToolCalls", "consistent"]

# A count as a vendor states it. No answer is longer; keeps a hostile number out of every sum.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
ToolCalls = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class ContradictoryUsage(ValueError):
    """A usage holds a part that is larger than its whole: nothing in it can be trusted."""

    def __init__(self) -> None:
        super().__init__("the usage holds a part that is larger than its whole")


def consistent(usage: TokenUsage) -> TokenUsage:
    """`usage`; ContradictoryUsage where parts of it exceed their whole."""
    input_parts = (
        usage.cached_input_tokens
        + usage.cache_write_5m_input_tokens
        + usage.cache_write_1h_input_tokens
        + usage.audio_input_tokens
    )
    if input_parts > usage.input_tokens:
        raise ContradictoryUsage
    if usage.reasoning_output_tokens + usage.audio_output_tokens > usage.output_tokens:
        raise ContradictoryUsage
    return usage
