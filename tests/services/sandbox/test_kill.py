"""kill -9 of the sandbox, or of its client, leaves books that say what was written."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from harmost.services.sandbox.billing import BillingLog, EndRow

SERVER = """
import asyncio, sys
from pathlib import Path
from harmost.services.sandbox.server import SandboxServer

async def main():
    async with SandboxServer(Path(sys.argv[1])).running("127.0.0.1", 0) as port:
        print(port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

CLIENT = """
import asyncio, sys, aiohttp

async def main():
    async with aiohttp.ClientSession() as session:
        async with session.post(sys.argv[1], data=sys.argv[2], headers={"x-request-id": "a"}) as r:
            print("open", flush=True)
            async for line in r.content:
                print("line", flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):  # ended, but the loop was not told yet
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()


def body(knobs: str) -> str:
    message = {"role": "user", "content": f"[[sandbox {knobs}]]"}
    return json.dumps({"model": "m", "stream": True, "max_tokens": 10_000, "messages": [message]})


async def port_of(child: asyncio.subprocess.Process) -> int:
    assert child.stdout is not None
    return int(await child.stdout.readline())


async def tokens_heard(url: str, attempt_id: str, enough: asyncio.Event) -> int:
    """Tokens that reach a client before its connection breaks."""
    heard = b""
    headers = {"x-request-id": attempt_id}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(
                url, data=body("output_tokens=5000 token_ms=1"), headers=headers
            ) as response:
                async for data in response.content.iter_any():
                    heard += data
                    if heard.count(b'"content":"') > 20:
                        enough.set()
        except aiohttp.ClientError:
            pass
    return heard.count(b'"content":"') - 1  # the head holds none


async def test_a_killed_sandbox_bills_all_that_was_heard(log_path: Path) -> None:
    async with process(SERVER, str(log_path)) as child:
        url = f"http://127.0.0.1:{await port_of(child)}/openai/v1/chat/completions"
        enough = [asyncio.Event() for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            streams = [
                tasks.create_task(tokens_heard(url, f"a{n}", event))
                for n, event in enumerate(enough)
            ]
            for event in enough:
                await event.wait()
            os.kill(child.pid, signal.SIGKILL)
    log = BillingLog(log_path)
    for n, stream in enumerate(streams):
        row = log.lookup(f"a{n}")
        assert isinstance(row, EndRow)
        assert row.status == "killed"
        # Counted before it is written: at most the one write is more than was heard.
        assert stream.result() <= row.output_tokens <= stream.result() + 64
    log.close()


async def test_a_killed_client_is_billed_what_was_written(sandbox: Any) -> None:
    url = sandbox.base + "/openai/v1/chat/completions"
    async with process(CLIENT, url, body("output_tokens=5000 token_ms=1")) as child:
        assert child.stdout is not None
        for _ in range(20):
            await child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    bill = await sandbox.billed("a")
    assert bill["status"] == "client_gone"
    assert 0 < bill["output_tokens"] < 5000
    assert bill["cost_usd_nanos"] == bill["input_tokens"] * 150 + bill["output_tokens"] * 600
