"""What a killed Router left open is asked for where it was sent."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from harmost.core.audit.recovery import Unsettled
from harmost.core.audit.rows import AttemptOpened
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.usage import TokenUsage
from harmost.services.journal.journal import Journal
from harmost.services.providers.endpoints import Endpoint, Endpoints
from harmost.services.router.attempt import AttemptTools
from harmost.services.router.recovery import LOOKUPS_MAX, recover
from harmost.services.upstream.upstream import Billed

REGIONAL = ProviderSpec(
    codec="openai", base_url="http://us", region="US", regions={"EEA": "http://eu"}
)


class Upstream:
    """Keeps whom it was asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def usage_lookup(self, endpoint: Endpoint, attempt_id: str) -> Billed:
        self.asked.append((attempt_id, endpoint.spec.base_url))
        return Billed(usage=TokenUsage(input_tokens=1, output_tokens=2), cost_usd_nanos=3)


class SlowUpstream(Upstream):
    """Answers once as many have asked as may at a time."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self._barrier = asyncio.Barrier(together)
        self.at_once = self.at_once_max = 0

    async def usage_lookup(self, endpoint: Endpoint, attempt_id: str) -> Billed:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await self._barrier.wait()
        self.at_once -= 1
        return await super().usage_lookup(endpoint, attempt_id)


class Ledger:
    """Takes every settlement."""

    def __init__(self) -> None:
        self.told: list[Unsettled] = []

    def recover(self, ended: Iterable[Unsettled]) -> None:
        self.told += ended


def opened(attempt_id: str, **fields: str) -> AttemptOpened:
    return AttemptOpened(
        record_id="m",
        attempt_id=attempt_id,
        model="x",
        provider="far",
        vendor_model_id="x",
        started_at_ns=1,
        tenant="acme",
        profile="p",
        **fields,
    )


async def test_the_books_of_the_attempts_own_region_are_asked(tmp_path: Path) -> None:
    dead = Journal(tmp_path / "journal", "router-0")
    async with dead.running():
        dead.append(opened("there", region="EEA"))
        dead.append(opened("here", region="US"))
        dead.append(opened("of an older version"))
        dead.append(opened("no address left", region="UK"))
    endpoints, upstream, ledger = Endpoints(), Upstream(), Ledger()
    await endpoints.replace({"far": REGIONAL})
    journal = Journal(tmp_path / "journal", "router-0")
    async with journal.running():
        await recover(AttemptTools(journal, ledger, upstream), endpoints)  # type: ignore[arg-type]
    assert upstream.asked == [
        ("there", "http://eu"),
        ("here", "http://us"),
        ("of an older version", "http://us"),
    ]
    ended = [one.closed.attempt for one in ledger.told]
    settled = {attempt.attempt_id: attempt.usage for attempt in ended}
    assert settled["there"].exact
    assert not settled["no address left"].exact  # nobody's word: its whole hold


async def test_slow_books_hold_a_router_up_once_and_not_for_each_attempt(tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(2 * LOOKUPS_MAX)]
    dead = Journal(tmp_path / "journal", "router-0")
    async with dead.running():
        for name in names:
            dead.append(opened(name))
    endpoints, upstream, ledger = Endpoints(), SlowUpstream(LOOKUPS_MAX), Ledger()
    await endpoints.replace({"far": REGIONAL})
    journal = Journal(tmp_path / "journal", "router-0")
    async with journal.running(), asyncio.timeout(10):
        await recover(AttemptTools(journal, ledger, upstream), endpoints)  # type: ignore[arg-type]
    assert upstream.at_once_max == LOOKUPS_MAX
    assert [one.closed.attempt.attempt_id for one in ledger.told] == names
