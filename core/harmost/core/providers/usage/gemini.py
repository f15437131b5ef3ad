"""Usage of Gemini and Vertex: thoughts and tool prompts are counted beside what they belong to.

Source: googleapis, google/ai/generativelanguage/v1beta/generative_service.proto, `UsageMetadata`:
the total is prompt + candidates + tool use prompt + thoughts; cached content is part of the prompt.
"""

import msgspec

from harmost.core.providers.usage.shape import Tokens, consistent
from harmost.core.usage import TokenUsage

__all__ = ["GeminiUsage"]


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: Tokens | None = None


class GeminiUsage(msgspec.Struct, rename="camel"):
    """`usageMetadata`: proto JSON leaves out what is zero, so only a missing object says nothing."""

    prompt_token_count: Tokens | None = None
    cached_content_token_count: Tokens | None = None
    candidates_token_count: Tokens | None = None
    thoughts_token_count: Tokens | None = None
    tool_use_prompt_token_count: Tokens | None = None
    total_token_count: Tokens | None = None
    prompt_tokens_details: list[_Modality] = []
    cache_tokens_details: list[_Modality] = []
    candidates_tokens_details: list[_Modality] = []

    def normal(self, *, exact: bool) -> TokenUsage | None:
        """In the normal form; None: it says nothing. ContradictoryUsage."""
        if self.prompt_token_count is None and self.total_token_count is None:
            return None
        thoughts = self.thoughts_token_count or 0
        fresh_audio = _audio(self.prompt_tokens_details) - _audio(self.cache_tokens_details)
        return consistent(
            TokenUsage(
                input_tokens=(self.prompt_token_count or 0)
                + (self.tool_use_prompt_token_count or 0),
                cached_input_tokens=self.cached_content_token_count or 0,
                audio_input_tokens=max(fresh_audio, 0),
                output_tokens=(self.candidates_token_count or 0) + thoughts,
                reasoning_output_tokens=thoughts,
                audio_output_tokens=_audio(self.candidates_tokens_details),
                exact=exact,
            )
        )


def _audio(details: list[_Modality]) -> int:
    return sum(detail.token_count or 0 for detail in details if detail.modality == "AUDIO")
