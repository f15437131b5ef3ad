"""What the record tells of several steps."""

from harmost.core.policy.decision import Decision, Redaction, RuleHit
from harmost.services.router.turn import merged

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
