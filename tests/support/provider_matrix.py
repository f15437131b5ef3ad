"""Every vendor, whatever is asked, however it is asked, whatever goes wrong: through a real mesh to its fake.

A vendor is a package in tests/fakes that says `FAKE`, `spec`, `ENVIRONMENT`, `MODEL` and `UNOFFERED`. A cell
passes, or the vendor does not offer it, and `UNOFFERED` cites where it says so.
"""

import asyncio
import importlib
import json
import os
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import fakes
import msgspec
from fakes.serve import Answer, Call, Fake, Fault, serving
from mesh import Mesh, running_mesh

from harmost.client import (
    Delta,
    Finished,
    Media,
    Message,
    ProviderFailed,
    Text,
    Tool,
    ToolCallDelta,
)
from harmost.core.providers.codec import ProviderErrorKind
from harmost.core.resources.dump import dump
from harmost.core.resources.kinds import (
    Document,
    Metadata,
    MissionProfileSpec,
    ModelSpec,
    Price,
    ProviderSpec,
)

__all__ = [
    "CALLS",
    "FAULTS",
    "FEATURES",
    "VENDORS",
    "Cell",
    "Stand",
    "cells",
    "pairwise",
    "stand",
    "table",
]

FOLDER = Path(next(iter(fakes.__path__)))
_PACKAGES = [
    importlib.import_module(f"fakes.{path.parent.name}")
    for path in sorted(FOLDER.glob("*/__init__.py"))
]
VENDORS: dict[str, ModuleType] = {
    package.__name__.rpartition(".")[2]: package
    for package in _PACKAGES
    if hasattr(package, "UNOFFERED")
}
CALLS = ("unary", "stream")
WEATHER = Tool(
    "weather",
    "of a place",
    {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
)
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
    "additionalProperties": False,
}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f"
    "030005fe02fea7d605b90000000049454e44ae426082"
)
TOOL_CALLS = (
    Call("call_bern", "weather", '{"place":"Bern"}'),
    Call("call_thun", "weather", '{"place":"Thun \\"See\\""}'),
)
PICTURE = [
    Message(
        "user",
        parts=(Text("What is this?"), Media(kind="image", media_type="image/png", data=PNG)),
    )
]
# What is asked, and what the vendor answers.
FEATURES: dict[str, tuple[Any, dict[str, Any], Answer]] = {
    "plain": (
        [Message("system", "Be brief."), Message("user", "hello")],
        {"temperature_permille": 500, "stop": ["END"]},
        Answer(),
    ),
    "tools": (
        "How is it in Bern and Thun?",
        {"tools": [WEATHER]},
        Answer(text="", calls=TOOL_CALLS, finish="tool_calls"),
    ),
    "image": (PICTURE, {}, Answer(text="A pixel.")),
    "schema": ("Where?", {"output_schema": SCHEMA}, Answer(text='{"place":"Bern"}')),
    "reasoning": (
        "Think.",
        {"reasoning_effort": "high"},
        Answer(text="42", reasoning="Six by seven.", reasoning_tokens=9),
    ),
    "cache": ("Again?", {}, Answer(text="Yes.", cached_tokens=64)),
}
FAULTS: dict[str, tuple[Fault, ProviderErrorKind | None]] = {
    "ok": ("", None),
    "400": ("bad_request", "rejected"),
    "401": ("unauthorized", "auth"),
    "429 with delay": ("throttled", "throttled"),
    "quota": ("quota", "quota_exhausted"),
    "5xx": ("server_error", "provider_error"),
    "overloaded": ("overloaded", "overloaded"),
    "context too long": ("context_too_long", "context_too_long"),
    "filtered": ("filtered", "content_filtered"),
    "stall": ("stall", "stalled"),
    "cut mid-stream": ("cut", "broken"),
    "garbage": ("garbage", "broken"),
}


class Cell(NamedTuple):
    """One question to one vendor."""

    vendor: str
    call: str
    feature: str
    fault: str

    @property
    def unoffered(self) -> str:
        """Where the vendor says that it has no such thing; "": it has."""
        known: dict[str, str] = VENDORS[self.vendor].UNOFFERED
        return known.get(self.feature, "") or known.get(FAULTS[self.fault][0], "")


def cells() -> list[Cell]:
    """All of them, by vendor."""
    return [Cell(*each) for each in product(VENDORS, CALLS, FEATURES, FAULTS)]


def pairwise(every: Iterable[Cell], chance: random.Random) -> list[Cell]:
    """Some in which each two values that meet in `every` meet."""
    left = list(every)
    chance.shuffle(left)
    met: set[tuple[tuple[int, str], ...]] = set()
    kept: list[Cell] = []
    for cell in left:
        pairs = set(combinations(enumerate(cell), 2))
        if pairs - met:
            met |= pairs
            kept.append(cell)
    return sorted(kept)


def table() -> str:
    """The matrix in Markdown, if every cell that is offered passes: a row for each vendor and question."""
    cited: list[str] = []
    lines = ["| | | " + " | ".join(FAULTS) + " |", "|---" * (len(FAULTS) + 2) + "|"]
    for vendor, feature in product(VENDORS, FEATURES):
        row: list[str] = []
        for fault in FAULTS:
            why = Cell(vendor, "unary", feature, fault).unoffered
            if why and why not in cited:
                cited.append(why)
            row.append(f"not offered [{cited.index(why) + 1}]" if why else "passes")
        lines.append(f"| {vendor} | {feature} | " + " | ".join(row) + " |")
    notes = [f"{number}. {why}" for number, why in enumerate(cited, 1)]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


class Stand:
    """A mesh whose providers are the fakes."""

    def __init__(self, mesh: Mesh, known: dict[str, Fake]) -> None:
        self.mesh, self._fakes = mesh, known
        self._client = mesh.client()

    def try_(self, cell: Cell, chance: random.Random) -> None:
        """Ask what `cell` says. AssertionError where that does not come out which must."""
        fake = self._fakes[cell.vendor]
        question, options, fake.answer = FEATURES[cell.feature]
        fake.fault, kind = FAULTS[cell.fault]
        fake.cuts = chance
        fake.seen.clear()
        failed: ProviderFailed | None = None
        try:
            told = self._ask(cell, question, options)
        except ProviderFailed as error:
            failed, told = error, None
        assert len(fake.seen) == 1
        if told is not None and cell.fault == "filtered":
            assert told.finished.finish_reason == "content_filter"
        elif told is not None:
            assert kind is None, f"{cell.fault} was not noticed: {told.text}"
            uncounted = "reasoning_tokens" in VENDORS[cell.vendor].UNOFFERED
            expected = replace(fake.answer, reasoning_tokens=0) if uncounted else fake.answer
            _check(expected, told)
        elif failed is not None:
            assert failed.metadata["error_kinds"] == (kind or "ok"), failed.message
            if cell.fault == "429 with delay":
                assert failed.retry_after_s == fake.retry_after_s

    def _ask(self, cell: Cell, question: Any, options: dict[str, Any]) -> "_Told":
        profile = f"matrix-{cell.vendor}"
        if cell.call == "unary":
            told = self._client.chat(profile, question, **options)
            calls = [(call.name, call.arguments_json) for call in told.tool_calls]
            return _Told(told.text, told.finished, calls)
        text, finished = "", None
        by_index: dict[int, tuple[str, str]] = {}
        for event in self._client.stream(profile, question, **options):
            if isinstance(event, Delta):
                text += event.text
            elif isinstance(event, ToolCallDelta):
                name, arguments = by_index.get(event.tool_call_index, ("", ""))
                by_index[event.tool_call_index] = (
                    name + event.name,
                    arguments + event.arguments_json,
                )
            elif isinstance(event, Finished):
                finished = event
        assert finished is not None
        return _Told(text, finished, list(by_index.values()))

    def close(self) -> None:
        """Leave the mesh to its owner."""
        self._client.close()


class _Told(NamedTuple):
    """An answer, streamed or not; of calls name and arguments."""

    text: str
    finished: Finished
    calls: list[tuple[str, str]]


def _check(answer: Answer, told: _Told) -> None:
    assert told.text == answer.text
    assert told.finished.finish_reason == answer.finish
    calls = [(name, json.loads(arguments)) for name, arguments in told.calls]
    assert calls == [(call.name, json.loads(call.arguments_json)) for call in answer.calls]
    usage = told.finished.usage
    assert usage.source == "provider"
    assert (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.reasoning_output_tokens,
    ) == (
        answer.input_tokens,
        answer.cached_tokens,
        answer.output_tokens,
        answer.reasoning_tokens,
    )


@contextmanager
def stand(data: Path) -> Iterator[Stand]:
    """Serve every vendor's fake, and start a mesh that has each as a provider."""
    before = dict(os.environ)
    for vendor in VENDORS.values():
        os.environ.update(vendor.ENVIRONMENT)
    try:
        with _served() as (known, urls), running_mesh(data) as mesh:
            yaml = b"---\n".join(dump(each) for each in _documents(urls))
            mesh.apply(yaml.decode(), name="matrix.yaml")
            there = Stand(mesh, known)
            yield there
            there.close()
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _served() -> Iterator[tuple[dict[str, Fake], dict[str, str]]]:
    """The fakes and their addresses, on a loop and thread of their own."""
    known: dict[str, Fake] = {name: vendor.FAKE() for name, vendor in VENDORS.items()}
    urls: dict[str, str] = {}
    ready = threading.Event()
    over = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            for name, fake in known.items():
                urls[name] = await stack.enter_async_context(serving(fake))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(20)
    try:
        yield known, urls
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join(20)


def _documents(urls: dict[str, str]) -> Sequence[Document]:
    documents: list[Document] = []
    for vendor, url in urls.items():
        module, name = VENDORS[vendor], f"matrix-{vendor}"
        spec: ProviderSpec = msgspec.structs.replace(module.spec(url), idle_timeout_ms=300)
        model = ModelSpec(
            provider=name,
            vendor_model_id=module.MODEL,
            capabilities=("chat", "tools", "vision", "json_schema", "reasoning"),
            media_tokens_max={"image": 2_000},
            price=Price(input="1", output="2"),
        )
        profile = MissionProfileSpec(models=(name,), attempts_max=1)
        metadata = Metadata(name=name, tenant="acme")
        documents += (
            Document(kind="Provider", metadata=metadata, spec=spec),
            Document(kind="Model", metadata=metadata, spec=model),
            Document(kind="MissionProfile", metadata=metadata, spec=profile),
        )
    return documents
