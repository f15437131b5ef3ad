"""docs/add-a-vendor.md is true: what it says to write is written, and works, in less than 200 lines."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from harmost.core.chat import Generation, Media, Message, Text
from harmost.core.providers import registry
from harmost.core.providers.codec import Fit
from harmost.core.resources.kinds import ProviderSpec

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-vendor.md"
LINES_MAX = 200
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """The code of the guide by the file that it belongs in."""
    return dict(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))


def module(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> ModuleType:
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(compile(code, name, "exec"), vars(made))  # noqa: S102 -- the guide's own
    return made


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The test module of the guide, with the codec registered as the guide says."""
    said = blocks()
    codec = module(
        monkeypatch, "harmost.core.providers.parrot", said["core/harmost/core/providers/parrot.py"]
    )
    line = said["core/harmost/core/providers/registry.py"]
    added = eval(f"{{{line}}}", {**vars(registry), **vars(codec)})
    for name, make in added.items():
        monkeypatch.setitem(registry.CODECS, name, make)
    module(monkeypatch, "fakes.parrot", said["tests/fakes/parrot.py"])
    yield module(monkeypatch, "fakes.test_parrot", said["tests/fakes/test_parrot.py"])
    registry.codec.cache_clear()  # another test must not find it


def test_a_vendor_takes_less_than_two_hundred_lines() -> None:
    said = blocks()
    assert len(said) == 4
    assert sum(code.count("\n") for code in said.values()) < LINES_MAX


def test_the_tests_of_the_guide_pass(parrot: ModuleType) -> None:
    tests = [each for name, each in vars(parrot).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        asyncio.run(test())


def test_the_codec_of_the_guide_tells_what_it_cannot_say(parrot: ModuleType) -> None:
    codec = registry.codec_of(ProviderSpec(codec="parrot", base_url="http://h"))  # type: ignore[arg-type]  # pyright: ignore
    picture = Media(kind="image", media_type="image/png", data=b"x")
    message = Message("user", (Text("see"), picture))
    wishes = Generation(seed=1, temperature_permille=0, output_schema_json="{}")
    assert codec.fit([message], wishes) == Fit(
        lacks=("media", "output_schema_json"), drops=("temperature_permille", "seed")
    )
    assert codec.fit([Message.of("user", "hi")], Generation()) == Fit()


def test_the_code_of_the_guide_is_in_house_style() -> None:
    for path, code in blocks().items():
        if not path.endswith("registry.py"):
            words = ["ruff", "format", "--check", "--stdin-filename", path, "-"]
            ran = subprocess.run(words, input=code.encode(), cwd=GUIDE.parents[1], check=False)
            assert ran.returncode == 0, path
