"""One process: started again when it dies, ended when told, never without us."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harmost.services.supervisor.child import LINE_BYTES_MAX, Child
from harmost.services.supervisor.logs import LogFile

FOREVER = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"


class Said:
    """What the child's listener was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, text: str) -> None:
        self.lines.append(f"{name}: {text}")

    async def until(self, part: str, *, times: int = 1) -> None:
        """Wait until `part` was said so often."""
        async with asyncio.timeout(20):
            while sum(part in line for line in self.lines) < times:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(code: str, said: Said, path: Path, *, loud: bool = False) -> AsyncIterator[Child]:
    log = LogFile(path / "child.log")
    child = Child("cat", [sys.executable, "-c", code], log=log, say=said, loud=loud)
    keeping = asyncio.create_task(child.keep())
    try:
        yield child
    finally:
        child.kill()
        await keeping
        log.close()


async def test_who_dies_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said = Said()
    async with kept(FOREVER, said, tmp_path) as child:
        await said.until("ready")
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await said.until("ready", times=2)
        assert child.pid not in (None, first)
    assert child.deaths == 1
    assert "cat: was ended by SIGKILL: starting it again in 0.2 s" in said.lines


async def test_who_keeps_dying_is_started_ever_more_slowly(tmp_path: Path) -> None:
    said = Said()
    async with kept("raise SystemExit(3)", said, tmp_path):
        await said.until("starting it again", times=3)
    assert [line.rpartition(" in ")[2] for line in said.lines][:3] == ["0.2 s", "0.4 s", "0.8 s"]
    assert said.lines[0].startswith("cat: ended with status 3")


async def test_who_is_asked_to_end_is_not_started_again(tmp_path: Path) -> None:
    said = Said()
    async with kept(FOREVER, said, tmp_path) as child:
        await said.until("ready")
        await child.stop(grace_s=10)
        assert child.pid is None
    assert said.lines == ["cat: ready"]


async def test_who_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    said = Said()
    async with kept(STUBBORN, said, tmp_path) as child:
        await said.until("ready")
        began = time.monotonic()
        await child.stop(grace_s=0.2)
        assert time.monotonic() - began < 5
        assert child.pid is None
    assert "cat: did not end within 0 s: killed" in said.lines


async def test_a_stop_between_two_lives_is_heard_at_once(tmp_path: Path) -> None:
    said = Said()
    async with kept("raise SystemExit(3)", said, tmp_path) as child:
        await said.until("starting it again in 0.8 s")
        began = time.monotonic()
        await child.stop(grace_s=10)
        assert time.monotonic() - began < 0.6


async def test_information_goes_to_the_log_file_only(tmp_path: Path) -> None:
    said = Said()
    code = "print('2026-01-01 00:00:00,000 INFO x: quiet\\nloud', flush=True)"
    async with kept(f"{code}; {FOREVER}", said, tmp_path):
        await said.until("ready")
    assert said.lines == ["cat: loud", "cat: ready"]
    assert b"quiet\nloud\nready\n" in (tmp_path / "child.log").read_bytes()


async def test_endless_lines_are_cut(tmp_path: Path) -> None:
    said = Said()
    async with kept(f"print('x' * 200_000, flush=True); {FOREVER}", said, tmp_path):
        await said.until("ready")
    assert all(len(line) <= LINE_BYTES_MAX + len("cat: ") for line in said.lines)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_service_ends_with_the_supervisor_however_that_ended(tmp_path: Path) -> None:
    words = ["sandbox", "--supervised", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "harmost.services.cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as service:
        try:
            assert service.stdin is not None
            deadline = time.monotonic() + 20
            while not _handles_sigterm(service.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            service.stdin.close()  # what the kernel does when the supervisor is gone
            assert service.wait(20) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                service.kill()


def _handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)
