"""What the sandbox charges: its own table, its own arithmetic, so that it can prove the mesh's."""

__all__ = ["cost_usd_nanos"]

# Nano-USD for a million input and a million output tokens: $0.15 is 150_000_000.
_PRICES = {
    "sandbox-small": (150_000_000, 600_000_000),
    "sandbox-large": (2_500_000_000, 10_000_000_000),
    "claude-sonnet": (3_000_000_000, 15_000_000_000),
    "claude-haiku": (800_000_000, 4_000_000_000),
    "sandbox-embed": (20_000_000, 0),
    "gemini-pro": (1_250_000_000, 10_000_000_000),
}
_OTHERS = _PRICES["sandbox-small"]


def cost_usd_nanos(model: str, *, input_tokens: int, output_tokens: int) -> int:
    """Cost of one attempt in nano-USD, rounded up once. A model without a price is a small one."""
    input_price, output_price = _PRICES.get(model, _OTHERS)
    whole, rest = divmod(input_tokens * input_price + output_tokens * output_price, 1_000_000)
    return whole + (rest > 0)
