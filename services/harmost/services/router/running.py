"""The missions that run in this Router, and who asked for them: what a kill switch must reach.

Bounded by the calls in flight.
"""

import asyncio
from typing import NamedTuple

from harmost.core.errors import Killed
from harmost.core.policy.revocations import Revocations, killed
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.services.interceptors.principal import Principal
from harmost.services.router.mission import Mission

__all__ = ["RunningMissions"]

LOOKED_AT_ONCE = 200  # between two turns of the loop: some 0.4 ms


class _Running(NamedTuple):
    mission: Mission
    principal: Principal


class RunningMissions:
    """Every mission between admission and end."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    def __contains__(self, record_id: str) -> bool:
        """Whether the mission of a record runs here now."""
        return record_id in self._running

    def begin(self, mission: Mission, principal: Principal) -> None:
        """From now on `mission` is within reach of `stop`, until `end`."""
        self._running[mission.record_id] = _Running(mission, principal)

    def end(self, mission: Mission) -> None:
        """It is no more."""
        self._running.pop(mission.record_id, None)

    async def stop(self, snapshot: CompiledSnapshot, revocations: Revocations) -> None:
        """Kill what `revocations` mean, and what runs with a key that `snapshot` does not have.

        O(missions), in slices: other calls go on meanwhile.
        """
        for count, running in enumerate(tuple(self._running.values()), 1):
            error = _stopped(running, snapshot, revocations)
            if error is not None:
                running.mission.kill(error)
            if count % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)


def _stopped(
    running: _Running, snapshot: CompiledSnapshot, revocations: Revocations
) -> Killed | None:
    principal, call = running.principal, running.mission.call
    if principal.key_id and principal.key_id not in snapshot.catalog.keys:
        return Killed(
            f"the key `{principal.key_id}` of this call was removed while it ran: "
            "make another with `harmost key create`",
            details={"kind": "key", "name": principal.key_id, "tenant": principal.tenant},
        )
    found = revocations.of_caller(
        key_id=principal.key_id, principal=principal.name, tenant=principal.tenant
    ) or revocations.of_call(
        tenant=call.tenant,
        profile=call.profile,
        agent_id=call.agent_id,
        record_id=running.mission.record_id,
    )
    return killed(found) if found is not None else None
