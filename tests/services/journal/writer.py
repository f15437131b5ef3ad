"""A process that writes a journal until it is killed, and tells what was acknowledged to it.

Usage: writer.py DIRECTORY MODE, where MODE is "flush" or "sync". Writes one line for each row.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from harmost.core.audit.rows import MissionOpened
from harmost.services.journal.journal import Journal


async def write(directory: Path, mode: str) -> None:
    journal = Journal(directory, "r1", segment_bytes=64 * 1024, sync_interval_s=0.01)
    async with journal.running():

        async def one(name: str) -> None:
            for number in itertools.count():
                row = MissionOpened(
                    record_id=f"{name}-{os.getpid()}-{number}",
                    tenant="acme",
                    profile="support",
                    principal="app",
                    router_id="r1",
                    started_at_ns=1,
                    labels={"padding": "x" * 200},
                )
                sequence = journal.append(row)
                await (journal.sync() if mode == "sync" else journal.flush())
                os.write(1, f"{sequence} {row.record_id}\n".encode())

        async with asyncio.TaskGroup() as tasks:
            for name in ("a", "b", "c"):
                tasks.create_task(one(name))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
