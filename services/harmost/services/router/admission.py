"""Who may come in: limits on calls in flight, profiles that can be asked for vectors. Waits for nothing."""

from collections.abc import Mapping, Sequence

from harmost.core.errors import InvalidInput, RateLimited
from harmost.core.mission.steps import CompiledStep
from harmost.core.resources.kinds import TenantSpec
from harmost.core.resources.resolve import Resource
from harmost.core.tenants import ancestors

__all__ = ["InFlight", "check_embeds"]

IN_FLIGHT_MAX = 4_000  # of one Router: about 25 KB each at the worst
IN_FLIGHT_RETRY_S = 0.5


class InFlight:
    """Counts calls that run, for each level of a tenant path and for the whole Router."""

    def __init__(self, *, calls_max: int = IN_FLIGHT_MAX) -> None:
        self._calls_max = calls_max
        self._counts: dict[str, int] = {}
        self.calls = 0

    def enter(self, tenant: str, tenants: Mapping[str, Resource[TenantSpec]]) -> None:
        """Count one more; raises `RateLimited`, counting nothing, where a limit is reached."""
        if self.calls >= self._calls_max:
            raise RateLimited(
                f"{self.calls} calls are in flight, as many as this Router takes: try again later",
                retry_after_s=IN_FLIGHT_RETRY_S,
            )
        levels = ancestors(tenant)
        for level in levels:
            known = tenants.get(level)
            count = self._counts.get(level, 0)
            if known is not None and count >= known.spec.in_flight_max:
                raise RateLimited(
                    f"tenant `{level}` has {count} calls in flight, as many as it may: "
                    "try again later or raise `in_flight_max`",
                    retry_after_s=IN_FLIGHT_RETRY_S,
                    details={"tenant": level},
                )
        self.calls += 1
        for level in levels:
            self._counts[level] = self._counts.get(level, 0) + 1

    def leave(self, tenant: str) -> None:
        """Undo one `enter`."""
        self.calls -= 1
        for level in ancestors(tenant):
            self._counts[level] -= 1
            if not self._counts[level]:
                del self._counts[level]


def check_embeds(profile: str, steps: Sequence[CompiledStep]) -> None:
    """Raise InvalidInput where `profile`, of `steps`, says what vectors have no use for."""
    only = steps[0]
    if len(steps) > 1:
        what = f"has {len(steps)} steps"
    elif only.system:
        what = "has a `system`"
    elif only.output is not None:
        what = "has an `output`"
    else:
        return
    raise InvalidInput(
        f"profile `{profile}` {what}, which vectors have no use for: ask one that has `models` alone"
    )
