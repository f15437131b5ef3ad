"""A call is drawn as it ran: every nanosecond in one span, in order, inside the call."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from harmost.common.v1 import attempt_pb2, decision_pb2
from harmost.services.cli.waterfall import heading, spans_of, told, waterfall
from harmost.telemetry.v1 import telemetry_pb2 as pb

T0_NS = 1_800_000_000 * 10**9
MS = 10**6
THROTTLED = attempt_pb2.ATTEMPT_OUTCOME_THROTTLED
COMPLETED = attempt_pb2.ATTEMPT_OUTCOME_COMPLETED


def attempt(sent_ms: int, total_ms: int, **others: Any) -> attempt_pb2.Attempt:
    made = attempt_pb2.Attempt(
        model="large", provider="sandbox", outcome=COMPLETED, total_ns=total_ms * MS, **others
    )
    made.started_at.FromNanoseconds(T0_NS + sent_ms * MS)
    return made


def record(*attempts: attempt_pb2.Attempt, total_ms: int = 100, **others: Any) -> pb.Record:
    made = pb.Record(
        record_id="18ea",
        tenant="acme",
        profile="hello",
        attempts=attempts,
        total_ns=total_ms * MS,
        **{"status": pb.RECORD_STATUS_COMPLETED, **others},
    )
    made.started_at.FromNanoseconds(T0_NS)
    return made


def texts(lines: Any) -> list[str]:
    return [Text.from_markup(line).plain for line in lines]


def test_a_call_is_admission_hold_attempts_and_end() -> None:
    made = record(
        attempt(6, 20, error="429", provider_response_id="x"),
        attempt(30, 60, first_token_ns=10 * MS),
        decided_ns=4 * MS,
        first_token_ns=40 * MS,
    )
    made.attempts[0].outcome = THROTTLED
    spans = [(span.name, span.offset_ns // MS, span.duration_ns // MS) for span in spans_of(made)]
    assert spans == [
        ("admitted, decided", 0, 4),
        ("chosen, held", 4, 2),
        ("large at sandbox", 6, 20),
        ("next candidate held", 26, 4),
        ("large at sandbox", 30, 60),
        ("settled, recorded", 90, 10),
    ]
    lines = texts(waterfall(made, width=140))
    assert "throttled: 429" in lines[2]
    assert lines[-2].strip().startswith("first token")
    assert lines[-1].strip().endswith("100.00 ms")
    scale = [line.index("▕") for line in lines[:6]]
    assert len(set(scale)) == 1  # one scale of time for all
    assert lines[4].count("█") == 30  # 50 ms of 100 in 60 cells
    assert lines[-2].index("▲") == scale[0] + 1 + 24


def test_the_first_token_lies_where_its_attempt_waited_for_it() -> None:
    made = record(attempt(6, 50, first_token_ns=20 * MS), first_token_ns=45 * MS)
    sent = next(span for span in spans_of(made) if span.kind == "attempt")
    assert sent.offset_ns + sent.waits_ns == made.first_token_ns


def test_a_router_of_before_tells_no_moment_of_decision() -> None:
    names = [span.name for span in spans_of(record(attempt(6, 20)))]
    assert names[0] == "admitted, decided, held"


def test_a_new_step_is_told_from_a_new_candidate() -> None:
    made = record(attempt(1, 10), attempt(20, 10, step_index=1))
    assert spans_of(made)[2].name == "next step decided, held"


def test_a_denied_call_is_one_span_and_says_who_denied() -> None:
    rule = decision_pb2.RuleHit(
        policy="eu", rule="no-pan", effect=decision_pb2.EFFECT_DENY, citations=["PCI 3.4"]
    )
    made = record(total_ms=3, status=pb.RECORD_STATUS_POLICY_DENIED, reason="POLICY_DENIED")
    made.decision.effect = decision_pb2.EFFECT_DENY
    made.decision.rules.append(rule)
    made.decision.denied_by.CopyFrom(rule)
    assert [span.name for span in spans_of(made)] == ["admitted, decided: denied"]
    assert "policy denied (POLICY_DENIED)" in texts(heading(made))[0]
    assert "rule       eu/no-pan: deny  (PCI 3.4)" in texts(told(made))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.integers(0, 2**62)),
        max_size=5,
    ),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(30, 250),
)
def test_whatever_the_clocks_say_spans_fill_the_call_in_order(
    parts: list[tuple[int, int, int]], total_ns: int, decided_ns: int, width: int
) -> None:
    made = record(total_ms=0, decided_ns=decided_ns, first_token_ns=total_ns // 2)
    made.total_ns = total_ns
    for sent_ns, lasts_ns, first_ns in parts:
        one = made.attempts.add(total_ns=lasts_ns, first_token_ns=first_ns, model="m")
        one.started_at.FromNanoseconds(max(T0_NS + sent_ns, 0))
    spans = spans_of(made)
    at_ns = 0
    for span in spans:
        assert span.offset_ns == at_ns
        assert 0 <= span.waits_ns <= span.duration_ns
        at_ns += span.duration_ns
    assert at_ns == total_ns
    lines = texts(waterfall(made, width=width))
    ends = {line.index("▏") - line.index("▕") for line in lines[: len(spans)]}
    assert len(ends) == 1


@pytest.mark.parametrize("text", ["[bold]", "\x1b[2J", "[/]"])
def test_names_of_others_drive_neither_terminal_nor_markup(text: str) -> None:
    made = record(attempt(1, 2, error=text), labels={text: text}, agent_id=text)
    made.attempts[0].outcome = THROTTLED
    shown = "\n".join(texts((*heading(made), *waterfall(made, width=120), *told(made))))
    assert "\x1b" not in shown
    assert text.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in shown
