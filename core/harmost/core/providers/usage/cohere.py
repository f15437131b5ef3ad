"""Usage of Cohere v2: what is billed is `billed_units`, not `tokens`; numbers are floats.

Source: cohere-ai/cohere-developer-experience, cohere-openapi.yaml, `Usage`.
"""

from math import ceil
from typing import Annotated

import msgspec

from harmost.core.providers.usage.shape import consistent
from harmost.core.usage import TokenUsage

__all__ = ["CohereUsage"]

_Units = Annotated[float, msgspec.Meta(ge=0, le=1_000_000_000)]


class _Counts(msgspec.Struct):
    input_tokens: _Units | None = None
    output_tokens: _Units | None = None


class CohereUsage(msgspec.Struct):
    """`usage` of a chat; in a stream that of the event `message-end`."""

    billed_units: _Counts | None = None
    tokens: _Counts | None = None
    cached_tokens: _Units | None = None

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        counts = self.billed_units or self.tokens
        if counts is None or counts.input_tokens is None or counts.output_tokens is None:
            return None
        input_tokens = ceil(counts.input_tokens)
        return consistent(
            TokenUsage(
                input_tokens=input_tokens,
                # Cached of all tokens, of which fewer may be billed.
                cached_input_tokens=min(int(self.cached_tokens or 0), input_tokens),
                output_tokens=ceil(counts.output_tokens),
                exact=exact,
            )
        )
