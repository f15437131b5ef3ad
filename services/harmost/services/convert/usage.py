"""`TokenUsage` and its proto."""

from harmost.common.v1 import usage_pb2
from harmost.core.usage import TokenUsage
from harmost.services.convert.forms import form_of

__all__ = ["USAGE", "usage_from_proto", "usage_to_proto"]

USAGE = form_of(
    usage_pb2.TokenUsage,
    TokenUsage,
    names={"source": "exact"},
    how={
        "source": {
            True: usage_pb2.USAGE_SOURCE_PROVIDER,
            False: usage_pb2.USAGE_SOURCE_ESTIMATED,
        }
    },
)


def usage_to_proto(usage: TokenUsage) -> usage_pb2.TokenUsage:
    """`usage` for the wire."""
    return usage_pb2.TokenUsage.FromString(USAGE.write(usage))


def usage_from_proto(usage: usage_pb2.TokenUsage) -> TokenUsage:
    """`usage` in the domain; exact only where the provider is named as its source."""
    return TokenUsage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_5m_input_tokens=usage.cache_write_5m_input_tokens,
        cache_write_1h_input_tokens=usage.cache_write_1h_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        tool_calls=dict(usage.tool_calls),
        exact=usage.source == usage_pb2.USAGE_SOURCE_PROVIDER,
    )
