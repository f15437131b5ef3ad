"""AWS's own client believes the fake, and parses all that it says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import (
    ClientError,
    EventStreamError,
)
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from fakes.bedrock.answers import SEAL
from fakes.bedrock.fake import BedrockFake, Refusal
from fakes.serve import Answer, Call, serving

MODEL = "eu.anthropic.claude-opus-4-7-v1:0"
HELLO: Any = [{"role": "user", "content": [{"text": "hello"}]}]
WEATHER: Any = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}
CALLS = (Call("call_1", "weather", '{"place":"B\\"ern"}'), Call("call_2", "weather", "{}"))
FULL = Answer(
    reasoning="Six by seven.",
    calls=CALLS,
    finish="tool_calls",
    cached_tokens=64,
    cache_write_tokens=9,
)
Clients = Callable[..., BaseClient]


@pytest.fixture
def fake() -> BedrockFake:
    return BedrockFake()


@pytest.fixture
async def clients(fake: BedrockFake, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clients]:
    """Makes clients of the fake, whose waits between attempts take no time."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    async with serving(fake) as url:

        def make(keys: Credentials | None = None, **config: Any) -> BaseClient:
            keys = keys or fake.credentials
            client = _session().client(
                "bedrock-runtime",
                endpoint_url=url,
                region_name=config.pop("region_name", fake.region),
                aws_access_key_id=keys.access_key,
                aws_secret_access_key=keys.secret_key,
                aws_session_token=keys.token,
                config=Config(**{"retries": {"mode": "legacy"}, **config}),
            )
            return stack.enter_context(closing(client))

        with ExitStack() as stack:
            yield make


_SESSIONS: list[boto3.Session] = []


def _session() -> boto3.Session:
    """One for all tests: the first client of a session reads the service's description."""
    if not _SESSIONS:
        _SESSIONS.append(boto3.Session())
    return _SESSIONS[0]


async def whole(client: Any, **asked: Any) -> Any:
    """What `converse` says, called off the loop: the client blocks."""
    asked = {"modelId": MODEL, "messages": HELLO, **asked}
    return await asyncio.to_thread(lambda: client.converse(**asked))


async def streamed(client: Any, **asked: Any) -> list[Any]:
    """The events of `converse_stream`."""
    asked = {"modelId": MODEL, "messages": HELLO, **asked}

    def listen() -> list[Any]:
        with closing(client.converse_stream(**asked)["stream"]) as stream:
            return list(stream)

    return await asyncio.to_thread(listen)


def joined(events: list[Any]) -> list[Any]:
    """The blocks of a streamed answer, as the unstreamed one has them."""
    blocks: dict[int, dict[str, Any]] = {}
    for said in events:
        if "contentBlockStart" in said:
            at = said["contentBlockStart"]
            blocks[at["contentBlockIndex"]] = {"toolUse": {**at["start"]["toolUse"], "input": ""}}
        if "contentBlockDelta" in said:
            at = said["contentBlockDelta"]
            delta = at["delta"]
            block = blocks.setdefault(at["contentBlockIndex"], {})
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            else:
                kept = block.setdefault("reasoningContent", {"reasoningText": {}})["reasoningText"]
                for name, piece in delta["reasoningContent"].items():
                    kept[name] = kept.get(name, "") + piece
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [blocks[index] for index in sorted(blocks)]


async def test_an_answer_is_the_same_whole_and_streamed(
    fake: BedrockFake, clients: Clients
) -> None:
    fake.answer, client = FULL, clients()
    asked = {"toolConfig": {"tools": [WEATHER], "toolChoice": {"auto": {}}}}
    told = await whole(client, **asked)
    events = await streamed(client, **asked)
    content = told["output"]["message"]["content"]
    assert content == joined(events)
    assert content == [
        {"reasoningContent": {"reasoningText": {"text": "Six by seven.", "signature": SEAL}}},
        {"text": FULL.text},
        {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"place": 'B"ern'}}},
        {"toolUse": {"toolUseId": "call_2", "name": "weather", "input": {}}},
    ]
    assert told["stopReason"] == "tool_use"
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    assert told["usage"] == events[-1]["metadata"]["usage"]
    assert told["usage"] == {
        "inputTokens": 37,
        "outputTokens": 21,
        "totalTokens": 131,
        "cacheReadInputTokens": 64,
        "cacheWriteInputTokens": 9,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 9}],
    }
    assert [seen.path for seen in fake.seen] == [
        f"/model/{MODEL}/converse",
        f"/model/{MODEL}/converse-stream",
    ]


async def test_results_of_tools_are_taken_and_others_refused(
    fake: BedrockFake, clients: Clients
) -> None:
    fake.answer, client = FULL, clients()
    tools = {"toolConfig": {"tools": [WEATHER]}}
    told = await whole(client, **tools)
    results: list[Any] = [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}},
        {"toolResult": {"toolUseId": "call_2", "content": [{"json": {}}], "status": "error"}},
    ]
    answered = [*HELLO, told["output"]["message"], {"role": "user", "content": results}]
    await streamed(client, messages=answered, **tools)
    with pytest.raises(ClientError, match="Expected toolResult blocks"):
        await whole(
            client, messages=[*answered[:2], {"role": "user", "content": results[:1]}], **tools
        )
    with pytest.raises(ClientError, match="toolConfig field must be defined"):
        await whole(client, messages=answered)


async def test_a_picture_a_schema_an_effort_and_marks_are_taken(
    fake: BedrockFake, clients: Clients
) -> None:
    fake.answer = Answer(text='{"place":"Bern"}')
    schema = {"name": "answer", "schema": '{"type":"object","additionalProperties":false}'}
    told = await whole(
        clients(),
        messages=[
            {
                "role": "user",
                "content": [
                    {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}},
                    {"text": "?"},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            }
        ],
        system=[{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        outputConfig={
            "effort": "high",
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}},
        },
        additionalModelRequestFields={"thinking": {"type": "adaptive"}},
        inferenceConfig={"maxTokens": 9, "temperature": 0.5, "stopSequences": ["END"]},
    )
    assert json.loads(told["output"]["message"]["content"][0]["text"]) == {"place": "Bern"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"messages": []}, "must start with a user message"),
        ({"messages": HELLO * 2}, "must alternate"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "is blank"),
        ({"inferenceConfig": {"temperature": 1.5}}, "above 1"),
        ({"toolConfig": {"tools": [WEATHER], "toolChoice": {"tool": {"name": "z"}}}}, "tool z"),
        (
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {"jsonSchema": {"schema": '{"type":"object"}'}},
                    }
                }
            },
            "explicitly set to false",
        ),
        ({"system": [{"text": "a"}, *[{"cachePoint": {"type": "default"}}] * 5]}, "at most 4"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(
    clients: Clients, asked: Any, message: str
) -> None:
    with pytest.raises(ClientError, match=message) as raised:
        await whole(clients(), **asked)
    assert type(raised.value).__name__ == "ValidationException"


@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize(
    ("fault", "error", "status", "calls"),
    [
        ("bad_request", "ValidationException", 400, 1),
        ("unauthorized", "ClientError", 403, 1),
        ("not_found", "ResourceNotFoundException", 404, 1),
        ("throttled", "ThrottlingException", 429, 5),
        ("quota", "ThrottlingException", 429, 5),
        ("server_error", "InternalServerException", 500, 5),
        ("overloaded", "ServiceUnavailableException", 503, 5),
        ("timeout", "ModelTimeoutException", 408, 1),
        ("context_too_long", "ValidationException", 400, 1),
    ],
)
async def test_a_fault_has_its_class_and_number_of_calls(
    fake: BedrockFake, clients: Clients, ask: Any, fault: Any, error: str, status: int, calls: int
) -> None:
    fake.fault = fault
    with pytest.raises(ClientError) as raised:
        await ask(clients())
    assert type(raised.value).__name__ == error
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert len(fake.seen) == calls


@pytest.mark.parametrize(
    ("name", "status", "calls"),
    [
        ("ModelNotReadyException", 429, 5),
        ("ModelErrorException", 424, 1),
        ("AccessDeniedException", 403, 1),
        ("ServiceQuotaExceededException", 400, 1),
    ],
)
async def test_other_exceptions_of_the_service_have_classes_too(
    fake: BedrockFake, clients: Clients, name: str, status: int, calls: int
) -> None:
    fake.refusal = Refusal(status, name, "why")
    with pytest.raises(ClientError, match="why") as raised:
        await whole(clients())
    assert type(raised.value).__name__ == name
    assert len(fake.seen) == calls


async def test_what_is_filtered_or_too_long_ends_so(fake: BedrockFake, clients: Clients) -> None:
    fake.answer, client = Answer(finish="length"), clients()
    assert (await whole(client))["stopReason"] == "max_tokens"
    fake.fault = "filtered"
    assert (await streamed(client))[-2]["messageStop"]["stopReason"] == "content_filtered"


@pytest.mark.parametrize(
    "name",
    [
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    ],
)
async def test_a_stream_may_break_by_an_exception(
    fake: BedrockFake, clients: Clients, name: str
) -> None:
    fake.breaks_by = name, "why"
    with pytest.raises(EventStreamError, match="why") as raised:
        await streamed(clients())
    assert raised.value.response["Error"]["Code"] == name
    assert len(fake.seen) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [("cut", ProtocolError), ("stall", ReadTimeoutError), ("garbage", ChecksumMismatch)],
)
async def test_a_stream_that_breaks_is_told(
    fake: BedrockFake, clients: Clients, fault: Any, error: type[Exception]
) -> None:
    fake.fault = fault
    with pytest.raises(error):
        await streamed(clients(read_timeout=0.2))


async def test_only_who_signs_with_the_right_key_for_the_right_region_is_answered(
    fake: BedrockFake, clients: Clients
) -> None:
    right = fake.credentials
    fake.credentials = Credentials(right.access_key, right.secret_key, "session-token")
    await whole(clients())
    assert fake.seen[-1].headers["x-amz-security-token"] == "session-token"
    await streamed(clients(), modelId="arn:aws:bedrock:eu-central-1:123456789012:prompt/AAAAAAAAAA")
    for keys, region, code in (
        (Credentials(right.access_key, "wrong", "session-token"), None, "InvalidSignature"),
        (Credentials("AKIDOTHER", right.secret_key, "session-token"), None, "UnrecognizedClient"),
        (right, None, "UnrecognizedClient"),
        (fake.credentials, "us-east-1", "InvalidSignature"),
    ):
        with pytest.raises(ClientError) as raised:
            await whole(clients(keys, **({"region_name": region} if region else {})))
        assert raised.value.response["Error"]["Code"] == f"{code}Exception"


async def test_a_key_of_bedrock_is_a_bearer_token(
    fake: BedrockFake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(fake, tls_folder=tmp_path) as url:  # over plain HTTP the client refuses
        for key in (fake.bearer, "wrong"):
            monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
            client = _session().client(
                "bedrock-runtime",
                endpoint_url=url,
                region_name=fake.region,
                verify=str(tmp_path / "127.0.0.1.pem"),
            )
            with (
                closing(client),
                (
                    nullcontext()
                    if key == fake.bearer
                    else pytest.raises(ClientError, match="API Key is valid")
                ),
            ):
                await whole(client)
    assert [seen.headers["authorization"] for seen in fake.seen] == [
        f"Bearer {fake.bearer}",
        "Bearer wrong",
    ]
