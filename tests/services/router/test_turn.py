"""What the record tells of several steps."""

from harmost.core.policy.decision import Decision, Exclusion, Redaction, RuleHit
from harmost.services.router.turn import OTHER_RULES_MAX, denied, merged

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
