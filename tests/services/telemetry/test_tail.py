"""A follower that reads too slowly misses records, is told how many, and holds up no one."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from harmost.core.errors import RateLimited
from harmost.services.telemetry.tail import TAILS_MAX, Followed, Tails
from harmost.telemetry.v1 import telemetry_pb2


async def test_a_slow_follower_is_told_how_many_it_missed(make_record: Any) -> None:
    tails = Tails(queue_max=2)
    with tails.following(Followed("")) as responses:
        tails.offer(make_record(f"r{n}") for n in range(10))
        got = [await anext(responses), await anext(responses)]
        tails.offer([make_record("r10")])
        got.append(await anext(responses))
        await responses.aclose()
    assert [(item.record.record_id, item.missed) for item in got] == [
        ("r0", 0),
        ("r1", 0),
        ("r10", 8),
    ]


async def test_what_a_follower_may_not_see_it_does_not_miss(make_record: Any) -> None:
    tails = Tails(queue_max=1)
    with tails.following(Followed("acme")) as responses:
        tails.offer([make_record("r1"), make_record("x", tenant="acme2")])
        assert (await anext(responses)).record.record_id == "r1"
        tails.offer([make_record("r2", tenant="acme/eu")])
        last = await anext(responses)
        assert (last.record.record_id, last.missed) == ("r2", 0)
        await responses.aclose()


async def test_a_follower_hears_only_the_profile_and_status_it_named(make_record: Any) -> None:
    denied = telemetry_pb2.RECORD_STATUS_POLICY_DENIED
    tails = Tails()
    with tails.following(Followed("", "sales", denied)) as responses:
        tails.offer(
            [
                make_record("r1", profile="sales"),
                make_record("r2", status="policy_denied"),
                make_record("r3", profile="sales", status="policy_denied"),
            ]
        )
        assert (await anext(responses)).record.record_id == "r3"
        await responses.aclose()


async def test_followers_are_bounded_and_a_place_is_freed() -> None:
    tails = Tails()
    with ExitStack() as stack:
        for _ in range(TAILS_MAX):
            stack.enter_context(tails.following(Followed("")))
        with pytest.raises(RateLimited), tails.following(Followed("")):
            pass
    with tails.following(Followed("")):
        pass


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_closing_ends_a_follower_whether_it_waits_or_is_behind(waiting: int) -> None:
    tails = Tails(queue_max=2)
    with tails.following(Followed("")) as responses:
        tails.offer(telemetry_pb2.Record(record_id=str(n), tenant="acme") for n in range(waiting))
        tails.close()
        async with asyncio.timeout(5):
            heard = [response async for response in responses]
    assert len(heard) <= waiting
