"""What the latest conventions say of the names that harmost uses.

Sources: open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md at commit
024a4f944a1291fcb627c9c47da69e79868dd15e and model/gen-ai/token-metrics.yaml at commit
066d4a7f356f8600de6f10c42874626ab88692fb; open-telemetry/semantic-conventions v1.44.0, docs/rpc and
docs/general/attributes.md.
"""

__all__ = ["LATEST_ATTRIBUTES", "LATEST_METRICS"]

LATEST_ATTRIBUTES = {
    "gen_ai.operation.name": "string",
    "gen_ai.provider.name": "string",
    "gen_ai.request.model": "string",
    "gen_ai.request.max_tokens": "int",
    "gen_ai.request.stream": "boolean",
    "gen_ai.response.id": "string",
    "gen_ai.response.finish_reasons": "string[]",
    "gen_ai.response.time_to_first_chunk": "double",
    "gen_ai.usage.input_tokens": "int",
    "gen_ai.usage.output_tokens": "int",
    "gen_ai.usage.cache_read.input_tokens": "int",
    "gen_ai.usage.cache_write.input_tokens": "int",
    "gen_ai.usage.reasoning.output_tokens": "int",
    "gen_ai.token.modality": "string",
    "server.address": "string",
    "server.port": "int",
    "error.type": "string",
    "rpc.system.name": "string",
    "rpc.method": "string",
    "rpc.response.status_code": "string",
    "otel.metric.overflow": "boolean",
}

_SECONDS, _COUNT, _TOKENS = ("histogram", "s"), ("counter", "{token}"), ("histogram", "{token}")

LATEST_METRICS = {
    "gen_ai.server.request.duration": _SECONDS,
    "gen_ai.server.time_to_first_token": _SECONDS,
    "gen_ai.server.time_per_output_token": _SECONDS,
    "gen_ai.client.inference.duration": _SECONDS,
    "gen_ai.client.inference.time_to_first_chunk": _SECONDS,
    "gen_ai.client.inference.operation.input_tokens": _TOKENS,
    "gen_ai.client.inference.operation.output_tokens": _TOKENS,
    "gen_ai.client.inference.usage.input_tokens": _COUNT,
    "gen_ai.client.inference.usage.output_tokens": _COUNT,
    "gen_ai.client.inference.usage.cache_read.input_tokens": _COUNT,
    "gen_ai.client.inference.usage.cache_write.input_tokens": _COUNT,
    "gen_ai.client.inference.usage.reasoning.output_tokens": _COUNT,
}
