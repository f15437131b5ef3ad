"""What does a governed call cost through the whole mesh, and what rate of a real trace does it hold?

Back of the envelope: grpc.aio's client costs about 250 us a call, and a call makes two more RPCs
(Reserve, Settle) and one HTTP exchange; with SQLite's group commit and Python in between, 2 to 4 ms
over all processes. The rate is then 2 cores / (call + its player).

`mesh.unary.cpu_us` is user and system time of every process of the mesh for one `Chat` with a 1 KB
prompt; the `mesh.unary.<process>.cpu_us` say where it goes. The player is apart: it is not the mesh.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from _result import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from mesh import COMMAND, Mesh, running_mesh

from harmost.client import AsyncClient

CALLS = 2_000
CONCURRENCY = 16
PROMPT = "x" * 990 + " [[sandbox output_tokens=8 chunk_tokens=8 ttft_ms=0]]"
SERVICES = ("router", "budget", "policy", "telemetry", "sandbox")
DATA = Path(os.environ.get("HARMOST_DATA", Path(__file__).parents[2] / "shared" / "data"))
TRACE = DATA / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_mesh(Path(folder) / "data") as mesh:
        asyncio.run(unary(mesh))
        replay(mesh)


async def unary(mesh: Mesh) -> None:
    async with AsyncClient(mesh.endpoints["router"], key=mesh.admin_key) as client:
        await calls(client, 200)
        before = {service: cpu_s(mesh.pid(service)) for service in SERVICES}
        await asyncio.gather(*(calls(client, CALLS // CONCURRENCY) for _ in range(CONCURRENCY)))
        spent = {service: cpu_s(mesh.pid(service)) - before[service] for service in SERVICES}
    emit("mesh.unary.cpu_us", sum(spent.values()) / CALLS * 1e6, "us", CALLS)
    for service, seconds in spent.items():
        emit(f"mesh.unary.{service}.cpu_us", seconds / CALLS * 1e6, "us", CALLS)


async def calls(client: AsyncClient, count: int) -> None:
    for _ in range(count):
        await client.chat("hello", PROMPT)


def replay(mesh: Mesh) -> None:
    """Play the trace faster than it can be held: the rate is then the mesh's, not the trace's."""
    trace, limit = TRACE, 4_000
    if not trace.exists():
        trace = mesh.data / "generated.csv"
        made = ("trace", "generate", "--requests", "4000", "--seed", "1", "-o", str(trace))
        subprocess.run([*COMMAND, *made], check=True, stdout=subprocess.DEVNULL)
    said = mesh.harmost(
        *("replay", str(trace), "--speed", "600", "--limit", str(limit)),
        *("--concurrency-max", "64", "--json"),
        timeout_s=300,
    )
    found = json.loads(said.stdout)
    assert found["proof"]["holds"], "the ledger and the sandbox's books differ"
    emit("mesh.replay.requests_per_s", found["requests_per_s"], "1/s", limit)
    emit("mesh.replay.added_p50_ms", found["added_p50_ns"] / 1e6, "ms", limit)
    emit("mesh.replay.added_p99_ms", found["added_p99_ns"] / 1e6, "ms", limit)


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
