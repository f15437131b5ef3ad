"""A sandbox on a port of its own, and a client that reads what it says and what it billed."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harmost.services.sandbox.server import SandboxServer

PATHS = {"openai": "/openai/v1/chat/completions", "anthropic": "/anthropic/v1/messages"}


@dataclass
class Said:
    """One answer, as far as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def frames(self) -> list[Any]:
        """The data of every event but `[DONE]`."""
        lines = [line for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    @property
    def text(self) -> str:
        """The text of a stream of either vendor."""
        pieces: list[str] = []
        for frame in self.frames:
            if frame.get("type") == "content_block_delta":
                pieces.append(frame["delta"]["text"])
            pieces += [choice["delta"].get("content", "") for choice in frame.get("choices", [])]
        return "".join(pieces)


class Client:
    """Asks one sandbox."""

    def __init__(self, session: aiohttp.ClientSession, base: str, log_path: Path) -> None:
        self.session = session
        self.base = base
        self.log_path = log_path

    def request(
        self,
        vendor: str = "openai",
        prompt: str = "hi",
        *,
        knobs: str = "",
        stream: bool = True,
        maximum: int = 100,
        model: str = "sandbox-small",
        attempt_id: str = "",
        headers: dict[str, str] | None = None,
    ) -> Any:
        """A response to be entered."""
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": maximum,
            "messages": [
                {"role": "user", "content": prompt + (f"[[sandbox {knobs}]]" * bool(knobs))}
            ],
            "stream": stream,
        }
        if vendor == "openai":
            body["stream_options"] = {"include_usage": True}
        return self.session.post(
            self.base + PATHS[vendor],
            json=body,
            headers={
                "anthropic-version": "2023-06-01",
                **({"x-request-id": attempt_id} if attempt_id else {}),
                **(headers or {}),
            },
        )

    async def ask(self, *arguments: Any, **options: Any) -> Said:
        """The answer to a request, up to where it ends or breaks."""
        body, whole = b"", True
        async with self.request(*arguments, **options) as response:
            try:
                async for data in response.content.iter_any():
                    body += data
            except aiohttp.ClientError:
                whole = False
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Said(response.status, headers, body, whole)

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of `path`."""
        async with self.session.get(self.base + path) as response:
            return response.status, await response.json()

    async def billed(self, attempt_id: str) -> Any:
        """What the sandbox says of an attempt, once it is over."""
        while True:
            _, bill = await self.get(f"/usage/{attempt_id}")
            if bill["status"] != "open":
                return bill

    def rows(self) -> list[Any]:
        """Rows of the log."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "billing.jsonl"


@pytest.fixture
async def sandbox(log_path: Path) -> AsyncIterator[Client]:
    async with (
        SandboxServer(log_path).running("127.0.0.1", 0) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, f"http://127.0.0.1:{port}", log_path)
