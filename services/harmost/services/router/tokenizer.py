"""Counts text exactly, in a process of its own, with a vocabulary that a `Model` document names.

For providers that never say what they counted: asked once an answer is over, and never waited for
long. Neither reading a vocabulary nor a text that takes for ever holds up the loop: what takes too
long is killed. What cannot be counted is estimated.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

__all__ = ["Tokenizer"]

log = logging.getLogger(__name__)

WORKER = "harmost.services.router.tokenizer_worker"
TIMEOUT_S = 5.0  # reading a vocabulary takes about one, on a laden machine three
# More is not counted but estimated.
TEXT_BYTES_MAX = 1 << 20
WAITING_MAX = 16
COMPLAINTS_MAX = 64


class _Question(msgspec.Struct):
    path: str
    texts: Sequence[str]


class _Answer(msgspec.Struct):
    tokens: int = -1
    error: str = ""


class Tokenizer:
    """`count` texts while it is `running`. One process, started when it is first asked."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._complained: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Until the block ends; then the process ends too."""
        try:
            yield
        finally:
            await self._stop()

    async def count(self, reference: str, texts: Sequence[str], *, utf8_bytes: int) -> int | None:
        """Tokens of all `texts`, which have so many bytes; None: not counted, and the log says why.

        `reference` is "file:PATH" of a vocabulary in Hugging Face's form. Special tokens that a chat
        template adds are not counted. At most `timeout_s`.
        """
        if utf8_bytes > TEXT_BYTES_MAX or self._waiting >= WAITING_MAX:
            return None
        path = reference.removeprefix("file:")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                answer = await self._ask(_Question(path, texts))
        except TimeoutError:
            answer = _Answer(error=f"it did not answer within {self._timeout_s:g} s")
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            answer = _Answer(error=f"its process broke: {error}")
            await self._stop()
        finally:
            self._waiting -= 1
        if answer.error:
            self._complain(path, answer.error)
            return None
        return answer.tokens

    async def _ask(self, question: _Question) -> _Answer:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        whole = False
        try:
            process.stdin.write(msgspec.json.encode(question) + b"\n")
            await process.stdin.drain()
            answer = msgspec.json.decode(await process.stdout.readline(), type=_Answer)
            whole = True
        finally:
            if not whole:  # its answer would be taken for the next one's
                process.kill()
                self._process = None
        return answer

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            command = (sys.executable, "-m", WORKER)
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        return self._process

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()

    def _complain(self, path: str, error: str) -> None:
        if path in self._complained or len(self._complained) >= COMPLAINTS_MAX:
            return
        self._complained.add(path)
        log.warning("tokenizer `%s` counts nothing, so tokens are estimated: %s", path, error)
