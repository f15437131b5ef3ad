"""What the record tells of several steps, what a denial says, and which price ceiling holds."""

import pytest

from harmost.core.chat import Call, Generation, Message, Text, Tool
from harmost.core.errors import PolicyDenied
from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.core.tokens.calibration import Calibration
from harmost.services.router.turn import (
    OTHER_RULES_MAX,
    asked,
    choose,
    classify,
    denied,
    merged,
    redact,
)

HIT = RuleHit(policy="p", rule="a", effect="redact")
OTHER = RuleHit(policy="p", rule="b", effect="deny", mode="warn")


def test_rules_and_redactions_of_earlier_steps_stay_in_the_record() -> None:
    first = Decision(
        effect="allow",
        hits=(HIT, OTHER),
        candidates=("x",),
        redactions=(Redaction(data_class="pan", how="label", spans=2),),
        data_classes=("pan",),
    )
    last = Decision(
        effect="allow",
        hits=(HIT,),
        candidates=("y",),
        redactions=(Redaction(data_class="pan", how="label", spans=1),),
        data_classes=("email",),
        output_tokens_max=7,
    )
    both = merged(first, last)
    assert both.hits == (HIT, OTHER)
    assert both.redactions == (Redaction(data_class="pan", how="label", spans=2),)
    assert both.data_classes == ("email", "pan")
    assert (both.candidates, both.output_tokens_max) == (("y",), 7)


def test_a_single_step_is_told_as_it_was() -> None:
    only = Decision(effect="allow", hits=(HIT,))
    assert merged(None, only) is only


def test_a_denial_names_every_rule_that_took_out_candidates() -> None:
    took = [Exclusion(model="m", hit=OTHER), Exclusion(model="n", hit=HIT)]
    error = denied(Decision(effect="deny", exclusions=tuple(took), denied_by=HIT))
    assert error.message == (
        "policy `p` rule `a` denies this call; other candidates were taken out by `p/b`"
    )


def test_a_denial_by_one_rule_names_no_other() -> None:
    took = (Exclusion(model="m", hit=HIT), Exclusion(model="n", hit=HIT))
    error = denied(Decision(effect="deny", exclusions=took, denied_by=HIT))
    assert error.message == "policy `p` rule `a` denies this call"


def test_a_denial_by_many_rules_stays_short() -> None:
    took = [
        Exclusion(model=f"m{n}", hit=RuleHit(policy="p" * 100, rule=f"{n:0100}", effect="deny"))
        for n in range(64)
    ]
    error = denied(Decision(effect="deny", exclusions=tuple(took), denied_by=took[-1].hit))
    assert error.message.endswith(f", {63 - OTHER_RULES_MAX} more")
    assert len(error.message.encode()) < 4_096


DOCUMENTS = """\
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: vendor}
spec: {codec: openai, base_url: "https://api.example.com/v1"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: cheap}
spec: {provider: vendor, vendor_model_id: cheap, price: {input: "1", output: "1"}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: dear}
spec: {provider: vendor, vendor_model_id: dear, price: {input: "5", output: "5"}}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: cool}
spec: {codec: cohere, base_url: "https://api.example.com"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: cool}
spec: {provider: cool, vendor_model_id: cool, price: {input: "1", output: "1"}}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: later}
spec: {codec: anthropic, api_version: "2026-10-21", base_url: "https://api.example.com"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: older}
spec: {provider: older, vendor_model_id: older, price: {input: "1", output: "1"}}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {name: older}
spec: {codec: anthropic, base_url: "https://api.example.com"}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: later}
spec: {provider: later, vendor_model_id: later, price: {input: "1", output: "1"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: capped}
spec: {models: [dear, cheap], cost: {usd_per_1k_tokens_max: "0.003"}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: free}
spec: {models: [dear, cheap]}
"""


@pytest.fixture(scope="module")
def snapshot() -> CompiledSnapshot:
    return compile_snapshot(1, parse_sources([Source("d.yaml", DOCUMENTS.encode())]))


def left(snapshot: CompiledSnapshot, profile: str, cap_usd_nanos: int) -> tuple[str, ...]:
    """The candidates that remain under the profile's ceiling and policy's cap."""
    call = Call(
        profile=profile, messages=(Message.of("user", "hi"),), tenant="acme", principal="app"
    )
    (step,) = snapshot.steps[profile]
    decision = Decision(
        effect="allow", candidates=step.models, usd_nanos_per_1k_tokens_max=cap_usd_nanos
    )
    return choose(
        call,
        step,
        classify(call, step, {}),
        decision,
        snapshot,
        now_s=1_800_000_000,
        calibration=Calibration(),
    ).candidates


def test_the_lower_of_profile_ceiling_and_policy_cap_holds(snapshot: CompiledSnapshot) -> None:
    assert left(snapshot, "free", 0) == ("dear", "cheap")
    assert left(snapshot, "free", 3_000_000) == ("cheap",)
    assert left(snapshot, "capped", 0) == ("cheap",)
    assert left(snapshot, "capped", 9_000_000) == ("cheap",)  # a cap never raises the ceiling
    with pytest.raises(PolicyDenied, match="`cheap`: an attempt would cost"):
        left(snapshot, "capped", 500_000)


def call_of(*parts: Text, **generation: object) -> Call:
    return Call(
        profile="free",
        messages=(Message("user", parts),),
        tenant="acme",
        principal="app",
        generation=Generation(**generation),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("call", "model", "left_out"),
    [
        (call_of(Text("hi"), temperature_permille=0), "later", ("temperature_permille",)),
        (call_of(Text("hi"), top_p_permille=900), "later", ("top_p_permille",)),
        (call_of(Text("hi"), temperature_permille=0), "cheap", ()),
        (
            call_of(Text("hi"), temperature_permille=500, reasoning_effort="low"),
            "older",
            ("reasoning_effort",),  # a temperature stays that is refused beside an effort alone
        ),
        (call_of(Text("hi"), temperature_permille=1_500), "cool", ("temperature_permille",)),
        (call_of(Text("hi", "5m")), "cheap", ("cache",)),
        (call_of(Text("hi"), tools=(Tool("f", cache="1h"),)), "cheap", ("cache",)),
        (call_of(*[Text("hi", "5m")] * 4), "later", ()),
        (call_of(*[Text("hi", "5m")] * 5), "later", ("cache",)),
    ],
)
def test_a_wish_that_a_format_lacks_is_left_out_and_told(
    snapshot: CompiledSnapshot, call: Call, model: str, left_out: tuple[str, ...]
) -> None:
    (step,) = snapshot.steps["free"]
    generation, told = asked(classify(call, step, {}), step, model, snapshot)
    assert told == left_out
    for name in set(left_out) & {"temperature_permille", "top_p_permille"}:
        assert getattr(generation, name) is None


def test_marks_stay_where_words_are_redacted(snapshot: CompiledSnapshot) -> None:
    (step,) = snapshot.steps["free"]
    tool = Tool("f", "ask bob@example.com", cache="1h")
    turn = classify(call_of(Text("to bob@example.com", "5m"), tools=(tool,)), step, {})
    what = Redaction(data_class="email", how="label")
    redacted, decision = redact(turn, Decision(effect="allow", redactions=(what,)))
    (part,) = redacted.messages[0].parts
    assert isinstance(part, Text)
    assert "bob" not in part.text + redacted.generation.tools[0].description
    assert (part.cache, redacted.generation.tools[0].cache) == ("5m", "1h")
    assert decision.redactions[0].spans == 2
