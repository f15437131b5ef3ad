"""The process that counts: one line of JSON asks, one answers. See tokenizer.py.

Reads from standard input until it ends, so it ends with whoever started it.
"""

import stat
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

__all__ = ["answer", "main"]

VOCABULARIES_MAX = 4  # tens of MB each
VOCABULARY_BYTES_MAX = 64 << 20


class Question(msgspec.Struct):
    """Texts, and the file of the vocabulary that counts them."""

    path: str
    texts: list[str]


def main(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer each line of `asked`."""
    for line in asked:
        answered.write(msgspec.json.encode(answer(line)) + b"\n")
        answered.flush()


def answer(line: bytes) -> dict[str, object]:
    """`tokens` of the question in `line`, or an `error`, in words."""
    try:
        question = msgspec.json.decode(line, type=Question)
        vocabulary = _read(question.path)
        found = vocabulary.encode_batch_fast(question.texts, add_special_tokens=False)
        return {"tokens": sum(len(one) for one in found)}
    except ImportError:
        return {"error": "install `harmost[tokenizers]`"}
    except Exception as error:  # noqa: BLE001 - root of a process; the library raises bare ones
        return {"error": " ".join(str(error).split())[:200] or type(error).__name__}


@lru_cache(VOCABULARIES_MAX)
def _read(path: str) -> Any:
    from tokenizers import Tokenizer

    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > VOCABULARY_BYTES_MAX:
        raise ValueError(f"it is no file of at most {VOCABULARY_BYTES_MAX >> 20} MB")
    return Tokenizer.from_file(path)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
