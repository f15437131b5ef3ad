"""What each server that speaks OpenAI's chat.completions does otherwise. One row a server."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

__all__ = ["FLAVOURS", "Flavour", "Refusal"]


class Refusal(NamedTuple):
    """A status and what the body says."""

    status: int
    message: str
    type: str = ""
    code: str | int | None = None


class Flavour(NamedTuple):
    """`refused`: fields that make it refuse the whole request. `ignored`: what is taken, and does nothing."""

    source: str
    refused: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    refused_status: int = 400
    reasoning: Literal["reasoning", "reasoning_content", "content"] = "reasoning_content"
    usage: Literal["asked", "always", "x_groq"] = "asked"
    errors: Literal["error", "bare", "detail", "words"] = "error"
    tool_choice: tuple[str, ...] = ("none", "required", "named")
    image_urls: bool = True
    stop_max: int = 16
    temperature_max: float = 2.0
    nine: bool = False
    needs_reasoning_back: bool = False
    comments: bool = False
    length: str = "length"
    context: Refusal = Refusal(
        400,
        "This model's maximum context length is 8192 tokens. However, you requested 9001 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
    )


FLAVOURS: Mapping[str, Flavour] = {
    "vllm": Flavour(
        source="vllm-project/vllm, docs/serving/openai_compatible_server.md and reasoning_outputs.md",
        ignored=("reasoning_effort",),  # of models whose template has enable_thinking
        errors="bare",
        context=Refusal(
            400,
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
            "BadRequestError",
            400,
        ),
    ),
    "ollama": Flavour(
        source="docs.ollama.com/api/openai-compatibility, supported request fields; "
        "ollama/ollama, openai/openai.go for images",
        ignored=("max_completion_tokens", "parallel_tool_calls", "tool_choice"),
        reasoning="reasoning",
        tool_choice=(),
        image_urls=False,
        context=Refusal(400, "input length exceeds maximum context length", "api_error", None),
    ),
    "llamacpp": Flavour(
        source="ggml-org/llama.cpp, tools/server/README.md; common/chat.cpp, tool_choice",
        ignored=("max_completion_tokens", "reasoning_effort"),
        tool_choice=("none", "required"),
        context=Refusal(
            400,
            "the request exceeds the available context size. try increasing the context size",
            "exceed_context_size_error",
            400,
        ),
    ),
    "mistral": Flavour(
        source="docs.mistral.ai/api, chat completions; refusals as in anomalyco/opencode#1680 (ids) and "
        "NousResearch/hermes-agent#864 (fields)",
        refused=("max_completion_tokens", "seed", "stream_options", "chat_template_kwargs"),
        refused_status=422,
        reasoning="content",
        usage="always",
        errors="detail",
        temperature_max=1.5,
        nine=True,
        length="model_length",
        context=Refusal(
            400,
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "invalid_request_error",
            "3051",
        ),
    ),
    "groq": Flavour(
        source="console.groq.com/docs/openai and /docs/api-reference (stop: up to 4)",
        refused=("logprobs", "logit_bias", "chat_template_kwargs"),
        reasoning="reasoning",
        usage="x_groq",
        stop_max=4,
    ),
    "together": Flavour(
        source="docs.together.ai/reference/chat-completions",
        ignored=("max_completion_tokens",),
        reasoning="reasoning",
        usage="always",
        context=Refusal(
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193.",
            "invalid_request_error",
        ),
    ),
    "deepseek": Flavour(
        source="api-docs.deepseek.com, create-chat-completion, error_codes and thinking_mode",
        ignored=("max_completion_tokens", "seed", "parallel_tool_calls", "reasoning_effort"),
        refused=("json_schema",),
        needs_reasoning_back=True,
    ),
    "xai": Flavour(
        source="docs.x.ai, chat completions: reasoning models take no stop",
        errors="words",
        stop_max=0,
        context=Refusal(
            400,
            "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
            code="Client specified an invalid argument",
        ),
    ),
    "openrouter": Flavour(
        source="openrouter.ai/docs, parameters, reasoning-tokens, errors and streaming",
        ignored=("max_completion_tokens", "reasoning_effort"),
        reasoning="reasoning",
        usage="always",
        comments=True,
        context=Refusal(400, "This endpoint's maximum context length is 8192 tokens.", code=400),
    ),
}
