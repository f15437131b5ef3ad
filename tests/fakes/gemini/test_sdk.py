"""Google's own client believes the fakes, AI Studio's and Vertex's: every field that they write is known."""

import json
import warnings
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from official_body import PNG, WEATHER

from fakes.gemini import MODEL
from fakes.gemini.fake import KEY, SIGNATURE, GeminiFake
from fakes.serve import Answer, Call, Fault, Reply, Seen, serving
from fakes.vertex.fake import LOCATION, PROJECT, TOKEN, VertexFake

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import errors, types

VERTEX = (VertexFake, {"project": PROJECT, "location": LOCATION, "credentials": Credentials(TOKEN)})  # type: ignore[no-untyped-call]
STUDIO = (GeminiFake, {"api_key": KEY})


@dataclass
class Sdk:
    """The client, and the fake that it calls."""

    fake: GeminiFake
    models: Any

    async def ask(self, contents: Any = "hello", *, streamed: bool, **config: Any) -> list[Any]:
        """The answer's chunks: one where it is not streamed."""
        asked = {"model": MODEL, "contents": contents, "config": config or None}
        if streamed:
            return [chunk async for chunk in await self.models.generate_content_stream(**asked)]
        return [await self.models.generate_content(**asked)]


def strictly(reply: Reply) -> None:
    """The vendor's type knows each field of each chunk. Its client alone reads over unknown ones."""
    if reply.status != 200:
        return
    for piece in reply.pieces:
        types.GenerateContentResponse.model_validate_json(piece.removeprefix(b"data: "))


@asynccontextmanager
async def sdk(service: Any, version: str = "") -> AsyncIterator[Sdk]:
    made, credentials = service

    class Strict(made):  # type: ignore[misc]
        def reply(self, seen: Seen) -> Reply:
            reply: Reply = super().reply(seen)
            strictly(reply)
            return reply

    fake = Strict()
    async with serving(fake) as url:
        options = types.HttpOptions(base_url=url, api_version=version or None, timeout=2_000)
        client = genai.Client(enterprise=service is VERTEX, http_options=options, **credentials)
        async with client.aio as aio:
            yield Sdk(fake, aio.models)


both = pytest.mark.parametrize("service", [STUDIO, VERTEX], ids=["studio", "vertex"])
ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@both
@ways
@pytest.mark.parametrize("first", [True, False])
async def test_words_and_usage_are_read(service: Any, streamed: bool, first: bool) -> None:
    version = ("v1" if first else "") if service is STUDIO else ("v1" if first else "v1beta1")
    async with sdk(service, version) as one:
        one.fake.answer = Answer(cached_tokens=7, finish="length")
        chunks = await one.ask(streamed=streamed, system_instruction="be brief")
        assert "".join(chunk.text for chunk in chunks) == one.fake.answer.text
        usage = chunks[-1].usage_metadata
        counts = (usage.prompt_token_count, usage.cached_content_token_count)
        assert counts == (110, 7)
        assert (usage.candidates_token_count, usage.total_token_count) == (21, 131)
        assert chunks[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
        assert chunks[-1].response_id == "r1"
        assert len(one.fake.seen) == 1


@both
@ways
async def test_a_call_and_its_result_go_round(service: Any, streamed: bool) -> None:
    declared = types.FunctionDeclaration(
        name="weather", parameters_json_schema=json.loads(WEATHER.parameters_schema_json)
    )
    tools = {
        "tools": [types.Tool(function_declarations=[declared])],
        "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
    }
    async with sdk(service) as one:
        calls = (Call("c1", "weather", '{"place":"Bern"}'), Call("c2", "weather", "{}"))
        one.fake.answer = Answer(text="", calls=calls, finish="tool_calls")
        chunks = await one.ask(streamed=streamed, **tools)
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        assert [(p.function_call.id, p.function_call.args) for p in parts] == [
            ("c1", {"place": "Bern"}),
            ("c2", {}),
        ]
        assert [p.thought_signature for p in parts] == [b64decode(SIGNATURE), None]
        results = [
            types.Part.from_function_response(name="weather", response={"output": "rain"})
            for _ in parts
        ]
        turns = [
            types.UserContent("how is it?"),
            types.ModelContent(parts),
            types.UserContent(results),
        ]
        one.fake.answer = Answer()
        assert (await one.ask(turns, streamed=streamed, **tools))[0].text
        # The vendor's newest models take no call back that has lost its seal.
        parts[0].thought_signature = None
        with pytest.raises(errors.ClientError, match="missing a thought_signature"):
            await one.ask(turns, streamed=streamed, **tools)


@both
@ways
async def test_pictures_schemas_and_thoughts_are_understood(service: Any, streamed: bool) -> None:
    async with sdk(service) as one:
        one.fake.answer = Answer(text='{"a":1}', reasoning="hm", reasoning_tokens=5)
        chunks = await one.ask(
            [types.Part.from_bytes(data=PNG, mime_type="image/png"), "what is it?"],
            streamed=streamed,
            response_mime_type="application/json",
            response_json_schema={"type": "object"},
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="LOW"),  # type: ignore[arg-type]
        )
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        assert [part.text for part in parts if part.thought] == ["hm"]
        assert "".join(p.text for p in parts if not p.thought) == '{"a":1}'
        assert chunks[-1].usage_metadata.thoughts_token_count == 5
        assert chunks[-1].usage_metadata.candidates_token_count == 16


@both
@ways
@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("bad_request", errors.ClientError, "INVALID_ARGUMENT"),
        ("not_found", errors.ClientError, "NOT_FOUND"),
        ("throttled", errors.ClientError, "RESOURCE_EXHAUSTED"),
        ("context_too_long", errors.ClientError, "INVALID_ARGUMENT"),
        ("server_error", errors.ServerError, "INTERNAL"),
        ("overloaded", errors.ServerError, "UNAVAILABLE"),
        ("timeout", errors.ServerError, "DEADLINE_EXCEEDED"),
    ],
)
async def test_a_refusal_is_one_call_and_an_error_of_its_class(
    service: Any, streamed: bool, fault: Fault, kind: type[errors.APIError], status: str
) -> None:
    async with sdk(service) as one:
        one.fake.fault = fault
        with pytest.raises(kind) as told:
            await one.ask(streamed=streamed)
        assert (told.value.status, len(one.fake.seen)) == (status, 1)


@pytest.mark.parametrize(
    ("service", "fault", "code", "status"),
    [
        (STUDIO, "unauthorized", 400, "INVALID_ARGUMENT"),
        (VERTEX, "unauthorized", 401, "UNAUTHENTICATED"),
        (STUDIO, "quota", 429, "RESOURCE_EXHAUSTED"),
        (VERTEX, "quota", 403, "PERMISSION_DENIED"),
    ],
)
async def test_what_the_services_say_each_in_its_way(
    service: Any, fault: Fault, code: int, status: str
) -> None:
    async with sdk(service) as one:
        one.fake.fault = fault
        with pytest.raises(errors.ClientError) as told:
            await one.ask(streamed=True)
        assert (told.value.code, told.value.status, len(one.fake.seen)) == (code, status, 1)


@both
@ways
async def test_a_prompt_that_is_blocked_has_no_candidates(service: Any, streamed: bool) -> None:
    async with sdk(service) as one:
        one.fake.fault = "filtered"
        (chunk,) = await one.ask(streamed=streamed)
        assert chunk.candidates is None
        assert chunk.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


@both
@pytest.mark.parametrize("fault", ["cut", "garbage"])
async def test_a_stream_that_breaks_is_an_error(service: Any, fault: Fault) -> None:
    async with sdk(service) as one:
        one.fake.fault = fault
        with pytest.raises(Exception):  # noqa: B017, PT011
            await one.ask(streamed=True)
        assert len(one.fake.seen) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"stop_sequences": list("abcdef")}, "stop_sequences|stopSequences"),
        ({"response_json_schema": {"type": "object"}}, "response mime type"),
        ({"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT"}]}, "Unknown name"),
        (
            {"thinking_config": {"thinking_budget": 5, "thinking_level": "LOW"}},
            "only one of thinking budget",
        ),
    ],
)
async def test_what_the_vendor_refuses_is_refused(config: dict[str, Any], words: str) -> None:
    async with sdk(STUDIO) as one:
        with pytest.raises(errors.ClientError, match=words) as told:
            await one.ask(streamed=False, **config)
        assert told.value.code == 400
