"""What the Router tells is, byte for byte, what protobuf writes of the same message."""

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from harmost.core.audit.rows import AttemptSummary, RecordSummary
from harmost.core.policy.decision import Decision, RuleHit
from harmost.core.usage import TokenUsage
from harmost.router.v1 import router_pb2
from harmost.services.convert.decision import decision_to_proto
from harmost.services.router.convert import chat_response, stream_response
from harmost.services.router.events import (
    Finished,
    Hop,
    MissionEvent,
    Started,
    StepFinished,
    StepStarted,
)

DECISION = Decision(effect="allow", hits=(RuleHit(policy="p", rule="r", effect="redact"),))
ATTEMPT = AttemptSummary(
    attempt_id="r-0", model="m", provider="p", outcome="broken", started_at_ns=3, error="it broke"
)
RECORD = RecordSummary(
    record_id="r",
    tenant="acme",
    profile="support",
    principal="app",
    router_id="r1",
    status="completed",
    started_at_ns=1,
    decision=DECISION,
    attempts=(ATTEMPT,),
    usage=TokenUsage(input_tokens=3, output_tokens=200, exact=False),
    cost_usd_nanos=40,
    added_ns=7,
)
FINISHED = Finished(
    record=RECORD,
    finish_reason="length",
    model="m",
    provider="p",
    warnings=("one", ""),
    price_unknown=True,
)
TOLD = {
    "recordId": "r",
    "finishReason": "FINISH_REASON_LENGTH",
    "model": "m",
    "provider": "p",
    "usage": {"inputTokens": "3", "outputTokens": "200", "source": "USAGE_SOURCE_ESTIMATED"},
    "costUsdNanos": "40",
    "decision": MessageToDict(decision_to_proto(DECISION)),
    "attempts": [
        {
            "attemptId": "r-0",
            "model": "m",
            "provider": "p",
            "outcome": "ATTEMPT_OUTCOME_BROKEN",
            "error": "it broke",
            "usage": {"source": "USAGE_SOURCE_PROVIDER"},
            "startedAt": "1970-01-01T00:00:00.000000003Z",
        }
    ],
    "warnings": ["one", ""],
    "priceUnknown": True,
    "addedNs": "7",
}


def read(kind: type[Message], data: bytes) -> dict[str, object]:
    message = kind.FromString(data)
    assert message.SerializeToString(deterministic=True) == data
    return MessageToDict(message)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            Started("r", "acme", DECISION),
            {"started": {"recordId": "r", "tenant": "acme", "decision": TOLD["decision"]}},
        ),
        (
            StepStarted(1, "draft", "m", "r-0"),
            {"stepStarted": {"stepIndex": 1, "step": "draft", "model": "m", "attemptId": "r-0"}},
        ),
        (
            Hop(0, "r-0", "m", "r-1", "n", "throttled", "slow down"),
            {
                "hop": {
                    "fromAttemptId": "r-0",
                    "fromModel": "m",
                    "toAttemptId": "r-1",
                    "toModel": "n",
                    "cause": "ATTEMPT_OUTCOME_THROTTLED",
                    "error": "slow down",
                }
            },
        ),
        (StepFinished(2, "", skipped=True), {"stepFinished": {"stepIndex": 2, "skipped": True}}),
        (
            StepFinished(0, "s", model="m", output={"a": [1.5]}, finish_reason="stop"),
            {
                "stepFinished": {
                    "step": "s",
                    "model": "m",
                    "output": {"a": [1.5]},
                    "finishReason": "FINISH_REASON_STOP",
                }
            },
        ),
        (StepFinished(0, "s", output={}), {"stepFinished": {"step": "s", "output": {}}}),
        (FINISHED, {"finished": TOLD}),
    ],
)
def test_an_event_is_told_whole(event: MissionEvent, told: dict[str, object]) -> None:
    assert read(router_pb2.StreamChatResponse, stream_response(event, 0)) == told
    numbered = {**told, "sequence": "300"}
    assert read(router_pb2.StreamChatResponse, stream_response(event, 300)) == numbered


def test_an_answer_is_told_whole() -> None:
    answer = read(router_pb2.ChatResponse, chat_response("hé", FINISHED))
    assert answer == {"parts": [{"text": "hé"}], "finished": TOLD}
    assert read(router_pb2.ChatResponse, chat_response("", FINISHED)) == {"finished": TOLD}
