"""Every attribute name that spans and metrics carry, and the switch between two generations of them.

Source: v1.41 is https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai, as
opentelemetry-semantic-conventions 0.66b2 has it; latest is
https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md at commit
024a4f944a1291fcb627c9c47da69e79868dd15e. Both are in development: a change of theirs is a change here alone.
`harmost.*` are our own: there is no convention for gateways yet (semantic-conventions-genai#299).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

__all__ = [
    "ATTRIBUTES",
    "CONVENTIONS",
    "DURATION_S_BOUNDS",
    "SCHEMA_URLS",
    "TOKEN_BOUNDS",
    "Attribute",
    "Conventions",
    "both",
    "names",
]

Conventions = Literal["v1.41", "latest", "dup"]
CONVENTIONS: tuple[Conventions, ...] = get_args(Conventions)

# What tells a backend how to read the names. No released schema has the latest ones, nor both.
SCHEMA_URLS: Mapping[Conventions, str] = {
    "v1.41": "https://opentelemetry.io/schemas/1.41.0",
    "latest": "",
    "dup": "",
}

# Boundaries that the conventions ask for: seconds, and tokens.
DURATION_S_BOUNDS = tuple(0.01 * 2**power for power in range(14))
TOKEN_BOUNDS = tuple(4**power for power in range(14))

Type = Literal["string", "int", "double", "boolean", "string[]"]


class Attribute(NamedTuple):
    """One attribute: its name in either generation, its type, and what it says."""

    v1_41: str
    latest: str
    type: Type
    about: str


def both(name: str, kind: Type, about: str) -> Attribute:
    """An attribute, or metric, that is named alike in both generations."""
    return Attribute(name, name, kind, about)


ATTRIBUTES: Mapping[str, Attribute] = {
    # Of the call: a gRPC server span.
    "rpc_system": both("rpc.system.name", "string", "`grpc`"),
    "rpc_method": both("rpc.method", "string", "full method name, without the leading slash"),
    "rpc_status": both(
        "rpc.response.status_code", "string", "gRPC status that the call ended with"
    ),
    "error_type": both(
        "error.type",
        "string",
        "stable reason; of an attempt the provider's failure (`error_kind`), or its outcome",
    ),
    # Of an attempt: a GenAI client span.
    "operation": both("gen_ai.operation.name", "string", "`chat` or `embeddings`"),
    "provider": both("gen_ai.provider.name", "string", "well-known vendor, else the Provider"),
    "request_model": both("gen_ai.request.model", "string", "model as its vendor names it"),
    "max_tokens": both("gen_ai.request.max_tokens", "int", "output tokens asked for at the most"),
    "stream": both("gen_ai.request.stream", "boolean", "asked for piece by piece"),
    "response_id": both("gen_ai.response.id", "string", "the provider's own id of the answer"),
    "finish_reasons": both("gen_ai.response.finish_reasons", "string[]", "why the answer ended"),
    "first_chunk_s": both(
        "gen_ai.response.time_to_first_chunk", "double", "seconds to the first token"
    ),
    "input_tokens": both("gen_ai.usage.input_tokens", "int", "billed input, cached included"),
    "output_tokens": both("gen_ai.usage.output_tokens", "int", "billed output, reasoning included"),
    "cache_read": both("gen_ai.usage.cache_read.input_tokens", "int", "input read from a cache"),
    "cache_write": Attribute(
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "int",
        "input written to a cache",
    ),
    "reasoning": both("gen_ai.usage.reasoning.output_tokens", "int", "output spent on reasoning"),
    "server_address": both("server.address", "string", "host that the provider is called at"),
    "server_port": both("server.port", "int", "its port"),
    # Of metrics.
    "token_type": both("gen_ai.token.type", "string", "`input` or `output`; v1.41 only"),
    "modality": both("gen_ai.token.modality", "string", "`text`, or `unknown` where no usage came"),
    # Ours.
    "record_id": both("harmost.record.id", "string", "the record: `harmost records show` has it"),
    "profile": both("harmost.profile", "string", "mission profile"),
    "tenant": both("harmost.tenant", "string", "tenant path that pays; never in metrics"),
    "principal": both("harmost.principal", "string", "who called; never in metrics"),
    "agent": both("harmost.agent.id", "string", "agent, as the caller said; never in metrics"),
    "status": both(
        "harmost.status", "string", "how the call ended: `completed`, `policy_denied` …"
    ),
    "reason": both("harmost.reason", "string", "stable reason of a denial or failure"),
    "router": both("harmost.router", "string", "Router worker that made the call"),
    "streamed": both("harmost.streamed", "boolean", "the caller asked for a stream"),
    "added_s": both("harmost.added", "double", "seconds that harmost added to the first token"),
    "effect": both("harmost.decision.effect", "string", "`allow` or `deny`"),
    "generation": both("harmost.decision.generation", "int", "policy snapshot that was asked"),
    "rules": both("harmost.decision.rules", "string[]", "`policy/rule effect`, in order"),
    "denied_by": both("harmost.decision.denied_by", "string", "`policy/rule` that denied"),
    "candidates": both("harmost.decision.candidates", "string[]", "models that remained"),
    "excluded": both("harmost.decision.excluded", "string[]", "`model policy/rule`, taken out"),
    "redactions": both("harmost.decision.redactions", "string[]", "`class spans`, replaced"),
    "data_classes": both("harmost.decision.data_classes", "string[]", "found in the input"),
    "budget_path": both("harmost.budget.path", "string[]", "tenant levels that were charged"),
    "attempts": both("harmost.attempts", "int", "attempts that were made"),
    "hops": both("harmost.hops", "int", "times that another model was tried"),
    "cost_usd_nanos": both("harmost.cost", "int", "cost in billionths of a US dollar"),
    "steps": both("harmost.steps", "string[]", "steps of the mission that ran"),
    "attempt_id": both("harmost.attempt.id", "string", "the attempt; never in metrics"),
    "attempt_model": both("harmost.model", "string", "name of the `Model` document"),
    "attempt_provider": both("harmost.provider", "string", "name of the `Provider` document"),
    "outcome": both("harmost.attempt.outcome", "string", "how the attempt ended"),
    "held_usd_nanos": both("harmost.attempt.held", "int", "held for it, billionths of a US dollar"),
    "price_version": both("harmost.attempt.price_version", "string", "price it was admitted with"),
    "region": both("harmost.attempt.region", "string", "where the model was called"),
    "estimated": both("harmost.usage.estimated", "boolean", "the provider told no usage"),
    # Ours, of metrics alone.
    "token_class": both("harmost.token.class", "string", "`input`, `cached_input`, `reasoning` …"),
    "rule": both("harmost.rule", "string", "`policy/rule`"),
    "mode": both("harmost.rule.mode", "string", "`enforce`, `warn` or `shadow`"),
    "rule_effect": both("harmost.rule.effect", "string", "what the rule does"),
    "data_class": both("harmost.data_class", "string", "what was replaced"),
    "from_model": both("harmost.hop.from", "string", "`Model` that failed"),
    "to_model": both("harmost.hop.to", "string", "`Model` that was tried next"),
    "budget": both("harmost.budget", "string", "name of the `Budget` document"),
    "budget_window": both("harmost.budget.window", "string", "`hour`, `day`, `month`, `total` …"),
    "budget_unit": both("harmost.budget.unit", "string", "`usd`, `tokens` or `requests`"),
    "destination": both("harmost.destination", "string", "where spans go: `otlp`, `azure`"),
    "overflow": both("otel.metric.overflow", "boolean", "sum of what came beyond the label limit"),
}


def names(key: str, conventions: Conventions) -> tuple[str, ...]:
    """What the attribute `key` is called under `conventions`: one name, or two where they differ."""
    attribute = ATTRIBUTES[key]
    if conventions == "v1.41":
        return (attribute.v1_41,)
    if conventions == "latest" or attribute.v1_41 == attribute.latest:
        return (attribute.latest,)
    return (attribute.v1_41, attribute.latest)
