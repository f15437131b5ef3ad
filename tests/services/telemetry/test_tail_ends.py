"""Followers of records have no end of their own; draining gives them one."""

import asyncio

import pytest

from harmost.services.telemetry.tail import Tails
from harmost.telemetry.v1 import telemetry_pb2


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_closing_ends_a_follower_whether_it_waits_or_is_behind(waiting: int) -> None:
    tails = Tails(queue_max=2)
    with tails.following("") as responses:
        tails.offer(telemetry_pb2.Record(record_id=str(n), tenant="acme") for n in range(waiting))
        tails.close()
        async with asyncio.timeout(5):
            heard = [response async for response in responses]
    assert len(heard) <= waiting
