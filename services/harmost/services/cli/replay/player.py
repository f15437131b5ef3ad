"""Plays planned calls at their times, each a stream of its own, and tells how late it was itself."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from harmost.client import AsyncClient, Finished, HarmostError, Hop, Started, StepStarted
from harmost.services.cli.replay.plan import Planned, prompt
from harmost.services.cli.replay.tally import Tally

__all__ = ["Player"]


class Player:
    """Spreads calls over `clients`, at the most `concurrency_max` at once.

    A call that is due while all places are taken waits, and its lateness is in `tally.lag_ns`.
    """

    def __init__(
        self,
        clients: Sequence[AsyncClient],
        *,
        concurrency_max: int,
        chunk_tokens: int,
        timeout_s: float,
        progress: Callable[[Tally], None],
    ) -> None:
        self.tally = Tally()
        self._clients = clients
        self._places = asyncio.Semaphore(concurrency_max)
        self._chunk_tokens = chunk_tokens
        self._timeout_s = timeout_s
        self._progress = progress

    async def play(self, calls: Iterable[Planned]) -> Tally:
        """Play all `calls`, which are in order of time."""
        began_ns = time.monotonic_ns()
        cpu_s = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for number, call in enumerate(calls):
                wait_ns = began_ns + call.due_ns - time.monotonic_ns()
                if wait_ns > 0:
                    await asyncio.sleep(wait_ns / 1e9)
                await self._places.acquire()
                self.tally.lag_ns.append(time.monotonic_ns() - began_ns - call.due_ns)
                client = self._clients[number % len(self._clients)]
                tasks.create_task(self._call(client, call), name=f"replay.{number}")
        self.tally.wall_s = (time.monotonic_ns() - began_ns) / 1e9
        self.tally.cpu_s = time.process_time() - cpu_s
        return self.tally

    async def _call(self, client: AsyncClient, call: Planned) -> None:
        tally = self.tally
        tenant = call.tenant
        try:
            stream = client.stream(
                call.profile,
                prompt(call, chunk_tokens=self._chunk_tokens),
                tenant=call.tenant,
                output_tokens_max=max(call.output_tokens, 1),
                timeout_s=self._timeout_s,
            )
            async for event in stream:
                match event:
                    case Started():
                        tenant = event.tenant
                    case StepStarted():
                        tally.attempts.add(event.attempt_id)
                    case Hop():
                        tally.attempts.add(event.to_attempt_id)
                    case Finished():
                        tally.finished(tenant, event)
                    case _:
                        pass
        except HarmostError as error:
            tally.refused(error.reason)
        finally:
            self._places.release()
        self._progress(tally)
