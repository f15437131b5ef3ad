"""What does it cost to know what an attempt costs?

On the back of an envelope: the built-in list is 0.5 MB of JSON, read once at 100 MB/s: 5 ms. A worst
case is a dozen multiplications and comparisons of small numbers in Python: 1 us; so is a cost. The
library that the list is made from takes its own way for each: names looked up, decimals, 60 us.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files

from _result import emit
from genai_prices import Usage, calc_price

from harmost.core.budget.price import cost_usd_nanos, output_tokens_within, worst_case_usd_nanos
from harmost.core.budget.price_book import PriceBook, compile_schedule
from harmost.core.budget.price_list import PriceList
from harmost.core.resources.kinds import ModelSpec, ProviderSpec
from harmost.core.usage import TokenUsage

RUNS = 9
CALLS = 50_000
LOOKUPS = 300


def median_us(run: Callable[[], object], operations: int) -> float:
    """Microseconds of CPU for one of the `operations` of `run`: the median of RUNS."""
    took: list[float] = []
    for _ in range(RUNS):
        begin = time.process_time_ns()
        run()
        took.append((time.process_time_ns() - begin) / operations / 1e3)
    return statistics.median(took)


def main() -> None:
    """Print one JSON line for each measurement."""
    content = files("harmost.core.budget").joinpath("price_list.jsonl").read_bytes()
    emit("budget.price.list_read_us", median_us(lambda: PriceList(content), 1), "us", RUNS)
    model = ModelSpec(provider="p", vendor_model_id="claude-sonnet-4-5")
    provider = ProviderSpec(codec="anthropic", base_url="https://api.anthropic.com")
    schedule = compile_schedule(model, provider)

    def look_up() -> None:
        for _ in range(LOOKUPS):
            compile_schedule(model, provider)

    emit("budget.price.look_up_us", median_us(look_up, LOOKUPS), "us", LOOKUPS)
    book, now_s = PriceBook({"m": schedule}), int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
    usage = TokenUsage(input_tokens=1_000, cached_input_tokens=400, output_tokens=200)

    def attempt() -> None:
        for _ in range(CALLS):
            price = book.at(now_s)["m"]
            assert price is not None
            worst_case_usd_nanos(price, input_tokens_max=1_000, output_tokens_max=1_024)
            output_tokens_within(price, usd_nanos=10_000_000, input_tokens_max=1_000)
            cost_usd_nanos(price, usage)

    emit("budget.price.attempt_us", median_us(attempt, CALLS), "us", CALLS)

    def theirs() -> None:
        asked = Usage(input_tokens=1_000, cache_read_tokens=400, output_tokens=200)
        for _ in range(LOOKUPS):
            calc_price(asked, model_ref="claude-sonnet-4-5", provider_id="anthropic")

    emit("budget.price.genai_prices_us", median_us(theirs, LOOKUPS), "us", LOOKUPS)


if __name__ == "__main__":
    main()
