"""A Budget service as a process of its own, that a test starts, kills, stops and starts again."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from harmost.core.budget.nodes import BudgetLimits, compile_limits
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata

__all__ = ["LedgerProcess", "free_port", "limits_of"]

SERVE = Path(__file__).parents[1] / "services/budget/serve.py"
START_TIMEOUT_S = 30

Documents = dict[str, tuple[str, list[dict[str, Any]]]]
"""Tenant and limits of each `Budget` document by name."""


def limits_of(documents: Documents) -> BudgetLimits:
    """What a Router makes of the documents."""
    return compile_limits(
        {
            name: (
                Metadata(name=name, tenant=tenant),
                BudgetSpec(limits=tuple(Limit(**limit) for limit in limits)),
            )
            for name, (tenant, limits) in documents.items()
        }
    )


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class LedgerProcess:
    """`start` it, and again after `kill`: the same file, the same port."""

    def __init__(self, path: Path, documents: Documents) -> None:
        self.path = path
        self.documents = documents
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return once it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SERVE), str(self.path), str(self.port)),
            json.dumps(self.documents),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), START_TIMEOUT_S)
        assert int(line) == self.port

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
