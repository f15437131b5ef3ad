"""Counting in a process of its own: exact, bounded, and an estimate's worth of harm when it fails."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Vocabulary
from vocabularies import TOKENIZER_FILE
from vocabulary import write_vocabulary

from harmost.services.router import tokenizer as module
from harmost.services.router.tokenizer import Tokenizer

TEXTS = ["Hello, world!", "Größe 中文 🎉", "", "def f(x):\n\treturn x"]
PATIENCE_S = 60.0  # a laden machine starts a process slowly


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary that is read at once: of 300 tokens, bytes among them."""
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    write_vocabulary(path, TEXTS * 3)
    return path


@pytest.fixture
async def tokenizer() -> AsyncGenerator[Tokenizer]:
    it = Tokenizer(timeout_s=PATIENCE_S)
    async with it.running():
        yield it


def exact(path: Path, text: str) -> int:
    return len(read(path).encode(text).ids)


@cache
def read(path: Path) -> Vocabulary:
    return Vocabulary.from_file(str(path))


async def count(tokenizer: Tokenizer, path: Path, *texts: str) -> int | None:
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return await tokenizer.count(f"file:{path}", texts, utf8_bytes=size)


async def test_it_counts_as_the_vocabulary_does(tokenizer: Tokenizer, small: Path) -> None:
    for path in (TOKENIZER_FILE, small):
        assert await count(tokenizer, path, *TEXTS) == sum(exact(path, text) for text in TEXTS)
        assert await count(tokenizer, path) == 0


async def test_many_at_once_each_get_their_own_answer(tokenizer: Tokenizer, small: Path) -> None:
    texts = ["a b c " * n for n in range(1, 13)]
    counted = await asyncio.gather(*(count(tokenizer, small, text) for text in texts))
    assert counted == [exact(small, text) for text in texts]


async def test_more_than_may_wait_or_be_counted_is_not(tokenizer: Tokenizer, small: Path) -> None:
    counted = await asyncio.gather(*(count(tokenizer, small, "a") for _ in range(40)))
    assert counted == [1] * module.WAITING_MAX + [None] * (40 - module.WAITING_MAX)
    assert await count(tokenizer, small, "a" * (module.TEXT_BYTES_MAX + 1)) is None
    assert await count(tokenizer, small, "a") == 1


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{}", b"\0" * 100, b'{"model": {"type": "BPE"}}'],
    ids=["no file", "empty", "no fields", "no text", "half a model"],
)
async def test_a_file_that_is_no_vocabulary_counts_nothing_and_the_log_says_so_once(
    tokenizer: Tokenizer,
    small: Path,
    tmp_path: Path,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    for _ in range(2):
        assert await count(tokenizer, path, "a") is None
    (said,) = caplog.messages
    assert said.startswith(f"tokenizer `{path}` counts nothing, so tokens are estimated: ")
    assert await count(tokenizer, small, "a") == 1


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/"])
async def test_what_is_no_file_is_not_read(
    tokenizer: Tokenizer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await count(tokenizer, Path(path), "a") is None
    assert "it is no file of at most 64 MB" in caplog.text


async def test_a_lone_surrogate_is_not_counted_and_the_next_text_is(
    tokenizer: Tokenizer, small: Path
) -> None:
    assert await count(tokenizer, small, "\ud800") is None
    assert await count(tokenizer, small, "a") == 1


async def test_a_process_that_dies_is_started_again(tokenizer: Tokenizer, small: Path) -> None:
    assert await count(tokenizer, small, "a") == 1
    assert tokenizer._process is not None
    os.kill(tokenizer._process.pid, signal.SIGKILL)
    assert await count(tokenizer, small, "a") in (None, 1)
    assert await count(tokenizer, small, "a") == 1


async def test_a_process_that_hangs_is_killed_and_waited_for_no_longer(
    tokenizer: Tokenizer, small: Path
) -> None:
    assert await count(tokenizer, small, "a") == 1
    process = tokenizer._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    tokenizer._timeout_s = 0.05
    assert await count(tokenizer, small, "a") is None
    assert await process.wait() == -signal.SIGKILL
    tokenizer._timeout_s = PATIENCE_S
    assert await count(tokenizer, small, "b c") == exact(small, "b c")


async def test_a_caller_that_goes_leaves_no_answer_for_the_next(
    tokenizer: Tokenizer, small: Path
) -> None:
    assert await count(tokenizer, small, "a") == 1
    gone = asyncio.create_task(count(tokenizer, small, "a b c " * 10_000))
    await asyncio.sleep(0.01)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await count(tokenizer, small, "a") == 1


async def test_its_process_ends_with_it(small: Path) -> None:
    it = Tokenizer(timeout_s=PATIENCE_S)
    async with it.running():
        assert await count(it, small, "a") == 1
        assert it._process is not None
        process = it._process
    assert process.returncode is not None


async def test_the_loop_goes_on_while_a_vocabulary_is_read() -> None:
    """It takes hundreds of turns of the loop, so it cannot have held it."""
    it, turns = Tokenizer(timeout_s=PATIENCE_S), 0
    async with it.running():
        counting = asyncio.create_task(count(it, TOKENIZER_FILE, "a"))
        begin = time.monotonic()
        while not counting.done() and time.monotonic() - begin < PATIENCE_S:
            await asyncio.sleep(0.001)
            turns += 1
        assert await counting == 1
    assert turns > 20
