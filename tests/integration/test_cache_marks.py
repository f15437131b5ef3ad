"""A mark through the running mesh to Anthropic's format, and what it writes and reads to the books."""

import asyncio
from pathlib import Path

from fakes.anthropic import MODEL
from fakes.anthropic.fake import KEY, AnthropicFake
from fakes.serve import Answer, serving
from mesh import Mesh

from harmost.client import ChatResult, Message, Tool

DOCUMENTS = """
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: marked, tenant: acme}}
spec: {{codec: anthropic, api_version: "2026-10-21", base_url: "{url}", credentials: "file:{key}"}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: marked, tenant: acme}}
spec:
  provider: marked
  vendor_model_id: {model}
  capabilities: [chat, tools]
  price: {{input: "1", cached_input: "0.1", cache_write_5m: "1.25", cache_write_1h: "2", output: "5"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: marked, tenant: acme}}
spec: {{models: [marked]}}
"""
HOUR = {"type": "ephemeral", "ttl": "1h"}


async def test_what_a_mark_writes_is_paid_by_its_time_and_held_before(
    mesh: Mesh, tmp_path: Path
) -> None:
    fake = AnthropicFake(
        Answer("yes", input_tokens=110, cached_tokens=64, cache_write_tokens=16, output_tokens=21)
    )
    key = tmp_path / "key"
    key.write_text(KEY)

    def call(url: str) -> ChatResult:
        mesh.apply(DOCUMENTS.format(url=url, key=key, model=MODEL))
        law = Message("system", "the law; ask bob@example.com", cache="1h")
        with mesh.client() as client:
            return client.chat(
                "marked",
                [law, Message("user", "May I?", cache="5m")],
                tools=[Tool("now", cache="1h")],
                temperature_permille=500,
            )

    async with serving(fake) as url:
        told = await asyncio.to_thread(call, url)
    assert told.text == "yes"
    (seen,) = fake.seen
    asked = seen.json
    assert asked["tools"][0]["cache_control"] == HOUR
    assert asked["system"][-1]["cache_control"] == HOUR
    assert asked["messages"][0]["content"][0]["cache_control"]["ttl"] == "5m"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    finished = told.finished
    usage = finished.usage
    assert (usage.cached_input_tokens, usage.cache_write_1h_input_tokens) == (64, 16)
    nanos = 30 * 1_000 + 64 * 100 + 16 * 2_000 + 21 * 5_000
    assert finished.cost_usd_nanos == nanos
    assert finished.attempts[0].held_usd_nanos >= nanos
    (dropped,) = [told for told in finished.warnings if "left out" in told]
    assert "`temperature_permille`" in dropped
