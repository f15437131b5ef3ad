"""The fakes' server itself, by a plain client and by the one that the Router calls providers with."""

import json
import random
from pathlib import Path

import pytest

from fakes.ask import ask
from fakes.serve import Fake, Reply, Seen, serving
from harmost.core.chat import Text
from harmost.core.resources.kinds import ProviderSpec

END = {"id": "r", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Stranger(Fake):
    """Speaks just enough of chat.completions."""

    def reply(self, seen: Seen) -> Reply:
        if self.fault == "overloaded":
            return Reply.of({"error": {"message": "busy"}}, 503, retry_after="7")
        words = {"id": "r", "choices": [{"index": 0, "delta": {"content": self.answer.text}}]}
        events = [f"data: {json.dumps(event)}\n\n".encode() for event in (words, END)]
        return Reply(200, {"content-type": "text/event-stream"}, (*events, b"data: [DONE]\n\n"))


def spec(url: str, *, http2: bool = False, idle_timeout_ms: int = 10_000) -> ProviderSpec:
    return ProviderSpec(codec="openai", base_url=url, http2=http2, idle_timeout_ms=idle_timeout_ms)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("tls", [False, True])
async def test_both_versions_of_http_are_served_with_tls_and_without(
    http2: bool, tls: bool, tmp_path: Path
) -> None:
    fake = Stranger(cuts=random.Random(1))
    async with serving(fake, tls_folder=tmp_path if tls else None) as url:
        ca_file = tmp_path / "127.0.0.1.pem" if tls else None
        told = await ask(spec(url, http2=http2), ca_file=ca_file)
    assert told.parts == (Text(fake.answer.text),)
    assert [seen.http_version for seen in fake.seen] == ["2" if http2 else "1.1"]
    assert fake.seen[0].json["model"] == "m"


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("overloaded", "overloaded"), ("stall", "stalled"), ("cut", "broken"), ("garbage", "broken")],
)
async def test_faults_are_made(fault: str, kind: str, http2: bool) -> None:
    fake = Stranger(fault=fault)  # type: ignore[arg-type]
    async with serving(fake) as url:
        told = await ask(spec(url, http2=http2, idle_timeout_ms=300))
    assert told.error is not None
    assert told.error.kind == kind, told.error
