"""What a kill switch stopped gets no new hold; what is held settles as ever."""

from typing import Any

import pytest

from harmost.core.errors import Killed
from harmost.core.policy.revocations import Revocation, Revocations


async def test_no_hold_for_what_is_stopped(budget: Any) -> None:
    await budget.reserve("a", 60)
    stopped = Revocation(kind="tenant", name="acme", tenant="acme", reason="it leaks")
    budget.servicer._revocations = lambda: Revocations(1, [stopped])
    with pytest.raises(Killed, match="tenant `acme` is stopped by a kill switch: it leaks"):
        await budget.reserve("b", 10)
    await budget.settle("a", 50)
    assert await budget.balances("day") == (50, 0, 0)
    budget.servicer._revocations = Revocations
    await budget.reserve("b", 10)
