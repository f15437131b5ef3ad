"""The real trace, where it is at hand."""

import os
from pathlib import Path

import pytest

from harmost.core.trace.arrival import Arrival, read_arrivals

DATA = Path(os.environ.get("HARMOST_DATA", Path(__file__).parents[4] / "shared" / "data"))
TRACE = DATA / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv"


@pytest.fixture(scope="module")
def real() -> list[Arrival]:
    """The 19,366 requests of the Azure conversation trace; skips without it, fails so in CI."""
    if not TRACE.is_file():
        text = f"no trace at {TRACE}: set HARMOST_DATA to the folder that holds azure_llm_2023/"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    with TRACE.open(encoding="utf-8") as lines:
        return read_arrivals(lines, TRACE.name)
