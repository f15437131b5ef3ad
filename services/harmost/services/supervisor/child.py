"""One service's process: started, listened to, started again when it dies, ended when told."""

import asyncio
import contextlib
import re
import signal
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Sequence

from harmost.services.supervisor.logs import LogFile

__all__ = ["Child"]

BACKOFF_S = 0.2
BACKOFF_S_MAX = 5.0
STEADY_S = 30.0  # who ran this long is not in a crash loop
LINE_BYTES_MAX = 8_192
READ_BYTES = 65_536
KILL_WAIT_S = 5.0
QUIET = re.compile(r"^\S+ \S+ (INFO|DEBUG) ")


class Child:
    """Runs `command` while `keep` runs. Its standard input ends when we do, and so does it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: LogFile,
        say: Callable[[str, str], None],
        loud: bool = False,
    ) -> None:
        """`loud`: say also what is only information; the log file has it in any case."""
        self.name = name
        self.deaths = 0
        self.last_line = ""
        self._command = tuple(command)
        self._log = log
        self._say = say
        self._loud = loud
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep(self) -> None:
        """Run the command until `stop` or `kill`; start it again, ever more slowly, when it dies."""
        delay_s = BACKOFF_S
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                code = await self._run()
                if self._stopping.is_set():
                    break
                self.deaths += 1
                delay_s = BACKOFF_S if time.monotonic() - began > STEADY_S else delay_s
                self._say(self.name, f"{_ended(code)}: starting it again in {delay_s:.1f} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay_s)
                delay_s = min(delay_s * 2, BACKOFF_S_MAX)
        finally:
            self.kill()
            self._ended.set()

    async def stop(self, *, grace_s: float) -> None:
        """Ask it to end, and end it when `grace_s` is over."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), grace_s)
        except TimeoutError:
            self._say(self.name, f"did not end within {grace_s:.0f} s: killed")
            self.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), KILL_WAIT_S)

    def kill(self) -> None:
        """End it at once; it is not started again."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _run(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,  # never written to: its end tells the child that we are gone
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C is ours to hear; we tell the children in order
        )
        if self._stopping.is_set():  # told while the process was being made
            self._signal(signal.SIGTERM)
        assert process.stdout is not None
        await self._listen(process.stdout)
        return await process.wait()

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while data := await stream.read(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._heard(line[:LINE_BYTES_MAX])
        if rest:
            self._heard(rest)

    def _heard(self, line: bytes) -> None:
        self._log.write(line)
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self.last_line = text
            if self._loud or not QUIET.search(text):
                self._say(self.name, text)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
