"""The last dollars: 32 Routers, 64 calls each at once, and one real Budget process."""

from pathlib import Path

import pytest
from money_race import EXPECTED, HOLD, LIMIT, race


@pytest.mark.timeout(180)
async def test_the_last_holds_go_to_exactly_as_many_as_fit(tmp_path: Path) -> None:
    counts = await race(tmp_path)
    assert max(counts) <= EXPECTED  # in no round one too many
    assert counts[-1] == EXPECTED  # and none too few, once what was idle was given back
    assert EXPECTED * HOLD >= 0.99 * LIMIT
