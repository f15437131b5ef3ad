"""Tools, pictures, schemas and wishes through the running mesh, to the official shape of each vendor."""

import json
from typing import Any

import pytest
from effort import transports
from mesh import Mesh

from harmost.client import (
    BudgetExhausted,
    InvalidInput,
    Media,
    Message,
    PolicyDenied,
    Text,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
)

pytestmark = pytest.mark.parametrize("mesh", transports(), indirect=True, scope="module")

WEATHER = Tool(
    "weather", "of a place", {"type": "object", "properties": {"place": {"type": "string"}}}
)
ASKS = 'How is it in Bern? [[sandbox tool=weather json={"place":"Bern"}]]'
PNG = Media(kind="image", media_type="image/png", data=b"\x89PNG")
MODELS = """
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: claude, tenant: acme}
spec: {models: [claude-sonnet]}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: exact, tenant: acme}
spec: {models: [claude-sonnet], unsupported_parameters: refuse}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: seeing, tenant: acme}
spec: {models: [claude-sonnet, sandbox-large]}
"""


@pytest.fixture(scope="module", autouse=True)
def profiles(mesh: Mesh) -> None:
    mesh.apply(MODELS)


@pytest.mark.parametrize("profile", ["hello", "claude"])
def test_a_tool_is_asked_for_and_answered(mesh: Mesh, profile: str) -> None:
    with mesh.client() as client:
        asked = client.chat(profile, ASKS, tools=[WEATHER])
        (call,) = asked.tool_calls
        told = client.chat(
            profile,
            [
                Message("user", "How is it in Bern?"),
                Message("assistant", parts=asked.parts),
                Message("tool", parts=(ToolResult(call.call_id, "rain"),)),
            ],
            tools=[WEATHER],
        )
    assert (call.name, json.loads(call.arguments_json)) == ("weather", {"place": "Bern"})
    assert asked.finished.finish_reason == "tool_calls"
    assert asked.finished.usage.output_tokens > 0
    assert told.finished.finish_reason == "stop"
    assert told.text


@pytest.mark.parametrize("profile", ["hello", "claude"])
def test_streamed_pieces_of_a_tool_call_make_the_whole_one(mesh: Mesh, profile: str) -> None:
    with mesh.client() as client:
        pieces = [
            event
            for event in client.stream(profile, ASKS, tools=[WEATHER])
            if isinstance(event, ToolCallDelta)
        ]
    assert (pieces[0].name, {piece.tool_call_index for piece in pieces}) == ("weather", {0})
    assert pieces[0].call_id
    assert json.loads("".join(piece.arguments_json for piece in pieces)) == {"place": "Bern"}


def test_what_a_tool_call_says_is_redacted_too(mesh: Mesh) -> None:
    """The sandbox reads its knobs in the last user text alone, so it answers what it was asked."""
    arguments = json.dumps({"card": 4111111111111111, "note": "4111 1111 1111 1111"})
    messages = [
        Message("user", "Pay."),
        Message("assistant", parts=(ToolCall("c", "pay", arguments),)),
        Message("tool", parts=(ToolResult("c", "paid with 4111 1111 1111 1111"),)),
    ]
    with mesh.client() as client:
        finished = client.chat("hello", messages).finished
    (redaction,) = finished.decision.redactions
    assert (redaction.data_class, redaction.spans) == ("pan", 3)


def test_a_wish_that_the_vendor_does_not_know_is_dropped_and_told(mesh: Mesh) -> None:
    with mesh.client() as client:
        finished = client.chat("claude", "hi", seed=1).finished
        assert "model `claude-sonnet` does not take `seed`: it was left out" in finished.warnings
        assert not client.chat("claude", "hi").finished.warnings
        with pytest.raises(PolicyDenied, match="`seed`"):
            client.chat("exact", "hi", seed=1)


def test_marks_go_where_there_is_a_place_for_them_and_are_told_elsewhere(mesh: Mesh) -> None:
    def marked(count: int) -> list[Message]:
        return [Message("system", "law", cache="1h")] + [Message("user", "hi", cache="5m")] * count

    def left_out(profile: str, messages: list[Message]) -> list[str]:
        return [
            told for told in client.chat(profile, messages).finished.warnings if "`cache`" in told
        ]

    with mesh.client() as client:
        assert not left_out("claude", marked(3))
        assert len(left_out("claude", marked(4))) == 1
        assert len(left_out("hello", marked(1))) == 1
        assert client.chat("exact", marked(3)).text
        with pytest.raises(PolicyDenied, match="`cache`"):
            client.chat("exact", marked(4))
        with pytest.raises(InvalidInput, match="marks a text without a word"):
            client.chat("claude", Message("user", " ", cache="5m"))


def test_a_model_without_the_capability_is_not_asked(mesh: Mesh) -> None:
    with mesh.client() as client, pytest.raises(PolicyDenied, match="`vision`"):
        client.chat("hello", Message("user", "see", (PNG,)))


def test_a_picture_without_a_bound_goes_to_the_model_that_has_one(mesh: Mesh) -> None:
    with mesh.client() as client:
        finished = client.chat("seeing", Message("user", "see", (PNG,))).finished
        assert finished.model == "sandbox-large"
        assert [attempt.outcome for attempt in finished.attempts] == ["not_admitted", "completed"]
        held = finished.attempts[1].held_usd_nanos
        words = client.chat("seeing", "see").finished
        assert words.model == "claude-sonnet"
        assert held > 1_600 * 2_500  # the picture's tokens at 2.50 US dollars a million
        with pytest.raises(BudgetExhausted, match="media_tokens_max"):
            client.chat("claude", Message("user", "see", (PNG,)))


def test_a_schema_is_asked_of_the_provider(mesh: Mesh) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with mesh.client() as client:
        answer = client.chat(
            "hello", 'Count. [[sandbox json={"a":1}]]', output_schema=schema, seed=3
        )
    assert json.loads(answer.text) == {"a": 1}
    assert answer.parts == (Text('{"a":1}'),)


def test_what_makes_no_sense_is_named(mesh: Mesh) -> None:
    with mesh.client() as client:
        with pytest.raises(InvalidInput, match=r"tool_choice\.name"):
            client.chat("hello", "hi", tool_choice=ToolChoice(name="other"), tools=[WEATHER])
        with pytest.raises(InvalidInput, match="is not said by `user`"):
            client.chat("hello", Message("user", parts=(ToolCall("c", "f", "{}"),)))
        with pytest.raises(InvalidInput, match="no JSON object"):
            client.chat("hello", Message("assistant", parts=(ToolCall("c", "f", "["),)))
