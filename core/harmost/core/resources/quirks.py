"""How a server that speaks OpenAI's chat.completions differs from OpenAI, as its `Provider` says."""

from typing import Literal

import msgspec

__all__ = ["Quirks"]


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Left out, a field is as with OpenAI. A wish that is not taken is left out and told.

    `seed` and `output_tokens` name the fields of a request. `stream_options`: it takes them; without,
    usage comes unasked. `tool_choice`: the modes that it heeds, beside "auto". A tool asked for by name
    is the only one offered where "required" is heeded and "named" is not; where neither is, and with
    more sequences than `stop_max`, there is no form and the model no candidate.
    `reasoning_effort`: "effort" is OpenAI's field, "object" a field in `reasoning`; "thinking" and
    "template" know only on and off, as `thinking.type` and `chat_template_kwargs.enable_thinking`.
    `reasoning_back` is the field of an assistant's message that takes its reasoning again; empty: none.
    `tool_call_ids`: "nine" are nine letters and digits, which other vendors' are made into.
    """

    output_tokens: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    seed: Literal["seed", "random_seed", ""] = "seed"
    stream_options: bool = True
    tool_choice: tuple[Literal["none", "required", "named"], ...] = ("none", "required", "named")
    parallel_tool_calls: bool = True
    schema: Literal["json_schema", ""] = "json_schema"
    reasoning_effort: Literal["effort", "object", "thinking", "template", ""] = "effort"
    reasoning_back: Literal["reasoning_content", "reasoning", ""] = ""
    image_urls: bool = True
    stop_max: int = 8
    temperature_permille_max: int = 2_000
    tool_call_ids: Literal["any", "nine"] = "any"
