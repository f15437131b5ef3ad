"""A Router cut off from the ledger spends its leases, and nothing beyond them; then it denies."""

from pathlib import Path

import pytest
from effort import effort
from money_partition import HELD, cut_off

# The 60 s from CI on: past the whole term of the leases, and past their expiry at the ledger.
SECONDS = effort(8, ci=62, nightly=62)


@pytest.mark.skipif(
    not effort(0, ci=1, nightly=1), reason="a mesh and half a minute: with HARMOST_EFFORT=ci"
)
@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_a_router_that_is_cut_off_spends_its_leases_and_then_denies(tmp_path: Path) -> None:
    found = await cut_off(tmp_path, before_s=2, seconds=SECONDS)
    assert found.during_ns  # it went on at first
    assert found.spent <= found.lent
    assert (
        found.lent - found.spent < HELD.usd_nanos or SECONDS > 30
    )  # to the last hold, or its term
    assert found.denied > 0
    assert found.late == 0
    assert (found.settled, found.debt) == (found.used, 0)  # nothing is lost, nothing is owed
