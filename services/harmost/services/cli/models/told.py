"""What is known of a model, in words for people. Pure."""

from harmost.client import ModelInfo

__all__ = ["per_million", "told"]


def told(one: ModelInfo) -> dict[str, str]:
    """Each thing that may be known of `one`, "" where it is not."""
    return {
        "provider": one.provider,
        "vendor's name": one.vendor_model_id,
        "version": one.version,
        "region": one.region,
        "status": one.status,
        "can": ", ".join(one.capabilities),
        "certified": ", ".join(one.certifications),
        "context": f"{one.context_tokens_max:,} tokens",
        "output": f"{one.output_tokens_max:,} tokens",
        "input price": _priced(one.input_usd_picos_per_token),
        "output price": _priced(one.output_usd_picos_per_token),
        **{f"quality: {subject}": str(score) for subject, score in sorted(one.quality.items())},
        "deprecated on": one.deprecated_on,
        "retires on": one.retires_on,
        "replacement": one.replacement,
    }


def per_million(picos: int | None) -> str:
    """US dollars for a million tokens, of trillionths for one; exact, at least cents."""
    if picos is None:
        return "unknown"
    # A trillionth of a dollar a token is a millionth of a dollar a million tokens.
    whole, rest = divmod(picos, 1_000_000)
    return f"{whole:,}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"


def _priced(picos: int | None) -> str:
    return "unknown" if picos is None else f"${per_million(picos)} a million tokens"
