"""Idempotency keys of calls: one call each, across Routers and restarts."""

from typing import Any

import pytest
from lease_router import Router

from harmost.budget.v1 import budget_pb2 as pb
from harmost.core.errors import AlreadyExists, Conflict, InvalidInput

DAY_S = 24 * 3_600


def claim(record_id: str = "r1", *, router: str = "r", epoch: int = 1, **more: Any) -> Any:
    fields = {"owner": "acme:app", "key": "k", "digest": b"body", **more}
    return pb.ClaimKeyRequest(record_id=record_id, router_id=router, epoch=epoch, **fields)


async def test_a_key_is_held_while_its_call_runs_and_remembered_after(budget: Any) -> None:
    router = Router(budget)
    await router.register()
    await budget.call("ClaimKey", claim())
    await budget.call("ClaimKey", claim())  # its answer was lost
    with pytest.raises(Conflict, match="still running"):
        await budget.call("ClaimKey", claim("r2", router="other"))
    await router.say(ended_record_ids=["r1"])
    with pytest.raises(AlreadyExists, match="see record `r1`") as known:
        await budget.call("ClaimKey", claim("r2", router="other"))
    assert known.value.details["record_id"] == "r1"
    router.close()


async def test_a_key_stands_for_one_body_and_one_owner(budget: Any) -> None:
    await budget.call("ClaimKey", claim())
    with pytest.raises(InvalidInput, match="used for another request"):
        await budget.call("ClaimKey", claim("r2", digest=b"other"))
    await budget.call("ClaimKey", claim("r2", owner="globex:app"))
    await budget.call("ClaimKey", claim("r3", key="k2"))


async def test_a_call_whose_router_died_has_ended(started: Any) -> None:
    async with started() as budget:
        router = Router(budget)
        await router.register()
        await budget.call("ClaimKey", claim(epoch=router.epoch))
        router.close()
    async with started() as budget:
        with pytest.raises(Conflict):
            await budget.call("ClaimKey", claim("r2", epoch=1))
        again = Router(budget)
        await again.register()
        with pytest.raises(AlreadyExists, match="r1"):
            await budget.call("ClaimKey", claim("r2", epoch=again.epoch))
        again.close()


async def test_a_call_that_was_never_made_frees_its_key(budget: Any) -> None:
    router = Router(budget)
    await router.register()
    await budget.call("ClaimKey", claim())
    await router.say(released_record_ids=["r1"])
    await budget.call("ClaimKey", claim("r2"))
    router.close()


async def test_a_key_is_forgotten_a_day_after_its_call(budget: Any, clock: Any) -> None:
    router = Router(budget)
    await router.register()
    await budget.call("ClaimKey", claim())
    clock.move(seconds=2 * DAY_S)
    with pytest.raises(Conflict):
        await budget.call("ClaimKey", claim("r2"))
    await router.say(ended_record_ids=["r1"])
    clock.move(seconds=DAY_S - 1)
    with pytest.raises(AlreadyExists):
        await budget.call("ClaimKey", claim("r2"))
    clock.move(seconds=2)
    await budget.store.run(lambda accounts, now: accounts.leases.expire(now_ns=now))
    await budget.call("ClaimKey", claim("r2"))
    router.close()


async def test_of_many_claims_at_once_one_wins(budget: Any, refused: Any) -> None:
    calls = (budget.call("ClaimKey", claim(f"r{n}")) for n in range(32))
    admitted, errors = await refused(*calls)
    assert admitted == 1
    assert {type(error) for error in errors} == {Conflict}
