"""The sandbox's own arithmetic, against fractions."""

from fractions import Fraction
from math import ceil

import pytest

from harmost.services.sandbox.prices import cost_usd_nanos

PRICES = {
    "sandbox-small": ("0.15", "0.60"),
    "sandbox-large": ("2.50", "10.00"),
    "claude-sonnet": ("3.00", "15.00"),
    "claude-haiku": ("0.80", "4.00"),
    "gemini-pro": ("1.25", "10.00"),
    "sandbox-embed": ("0.02", "0"),
    "any-other": ("0.15", "0.60"),
}


@pytest.mark.parametrize("model", PRICES)
def test_cost_is_dollars_for_a_million_tokens_rounded_up_once(model: str) -> None:
    for tokens_in, tokens_out in [(0, 0), (1, 0), (0, 1), (123_457, 7_891), (10**7, 10**6 + 1)]:
        prices = [Fraction(price) for price in PRICES[model]]
        dollars = (tokens_in * prices[0] + tokens_out * prices[1]) / 10**6
        cost = cost_usd_nanos(model, input_tokens=tokens_in, output_tokens=tokens_out)
        assert cost == ceil(dollars * 10**9)
