"""Steps are compiled with every problem told, and run as their `when` says."""

from typing import Any

import pytest

from harmost.core.errors import StepFailed
from harmost.core.limits import STEPS_MAX
from harmost.core.mission import steps as module
from harmost.core.mission.steps import ONLY_STEP, CompiledStep, StepError, StepsRefused
from harmost.core.policy.cel.front import Environment
from harmost.core.policy.cel.library import Library, read_library
from harmost.core.resources.kinds import MissionProfileSpec, Output, Step

SCORE = Output(
    schema={
        "type": "object",
        "properties": {
            "score": {"type": "integer"},
            "divisor": {"type": "integer"},
            "mood": {
                "type": "object",
                "properties": {"words": {"type": "array", "items": {"type": "string"}}},
            },
        },
        "required": ["score"],
    }
)
EMPATHY = Step(name="empathy", models=("claude-sonnet", "claude-haiku"), output=SCORE)


def compile_steps(spec: MissionProfileSpec) -> tuple[CompiledStep, ...]:
    return module.compile_steps(spec, Environment)


def resolve(when: str, name: str = "resolve") -> Step:
    return Step(name=name, models=("gemini-pro",), when=when)


def runs(when: str, outputs: dict[str, dict[str, Any]]) -> bool:
    steps = compile_steps(MissionProfileSpec(steps=(EMPATHY, resolve(when))))
    return steps[1].runs(outputs)


def errors(spec: MissionProfileSpec) -> tuple[StepError, ...]:
    with pytest.raises(StepsRefused) as refused:
        compile_steps(spec)
    assert len(refused.value.violations) == len(refused.value.errors)
    return refused.value.errors


def test_the_example_of_the_architecture_runs() -> None:
    assert runs("steps.empathy.score >= 7", {"empathy": {"score": 7}})
    assert not runs("steps.empathy.score >= 7", {"empathy": {"score": 6}})


def test_a_step_without_when_always_runs() -> None:
    (step,) = compile_steps(MissionProfileSpec(steps=(EMPATHY,)))
    assert step.runs({})
    assert step.when is None
    assert step.output is not None
    assert step.output.parse('{"score": 3}') == {"score": 3}


def test_models_are_short_for_one_step() -> None:
    (step,) = compile_steps(
        MissionProfileSpec(models=("a", "b"), system="Be brief.", output_tokens_max=77)
    )
    assert (step.name, step.models, step.system) == (ONLY_STEP, ("a", "b"), "Be brief.")
    assert step.output_tokens_max == 77
    assert step.runs({})


def test_a_step_s_own_output_tokens_come_before_the_profile_s() -> None:
    first, second = compile_steps(
        MissionProfileSpec(
            steps=(EMPATHY, Step(name="b", models=("m",), output_tokens_max=5)),
            output_tokens_max=9,
        )
    )
    assert (first.output_tokens_max, second.output_tokens_max) == (9, 5)


def test_nested_fields_and_lists_can_be_asked_about() -> None:
    when = '"angry" in steps.empathy.mood.words'
    assert runs(when, {"empathy": {"score": 1, "mood": {"words": ["angry"]}}})
    assert not runs(when, {"empathy": {"score": 1, "mood": {"words": []}}})


def test_a_when_that_needs_a_skipped_step_is_false() -> None:
    assert not runs("steps.empathy.score >= 7", {})
    assert not runs("!(steps.empathy.score >= 7)", {})


def test_a_when_that_needs_a_field_left_out_is_false() -> None:
    assert not runs("steps.empathy.divisor > 0", {"empathy": {"score": 7}})
    assert not runs("size(steps.empathy.mood.words) == 0", {"empathy": {"score": 7, "mood": {}}})


def test_a_when_that_is_decided_without_a_skipped_step_is_what_it_is() -> None:
    assert runs("steps.empathy.divisor > 0 || steps.empathy.score > 5", {"empathy": {"score": 7}})


def test_a_when_that_fails_on_values_that_are_there_fails_the_step() -> None:
    with pytest.raises(
        StepFailed, match="`when` of step `resolve` cannot be evaluated: division by"
    ):
        runs("10 / steps.empathy.divisor > 1", {"empathy": {"score": 1, "divisor": 0}})


def test_an_unknown_field_is_told_with_its_place_and_what_there_is() -> None:
    (error,) = errors(
        MissionProfileSpec(steps=(EMPATHY, resolve("true &&\n  steps.empathy.scor > 1")))
    )
    assert (error.step, error.step_index, error.field) == ("resolve", 1, "when")
    assert (error.line, error.column) == (2, 16)
    assert "did you mean `steps.empathy.score`?" in error.message
    assert "earlier steps declare `steps.empathy.score`" in error.message


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ('steps.empathy.score == "high"', "no matching overload"),
        ("steps.empathy.score", "gives a int, not a bool"),
        ("steps.resolve.score > 1", "not known"),
        ("steps.empathy.score >", "mismatched input"),
        ("x" * 1_000_000, "1000000 characters"),
        ("(" * 3_000 + "true" + ")" * 3_000, "nested too deeply"),
    ],
)
def test_a_when_that_cannot_be_used_is_refused(when: str, said: str) -> None:
    assert said in errors(MissionProfileSpec(steps=(EMPATHY, resolve(when))))[0].message


def test_a_later_step_cannot_be_asked_about() -> None:
    spec = MissionProfileSpec(
        steps=(
            Step(name="first", models=("m",)),
            resolve("steps.empathy.score > 1"),
            EMPATHY,
        )
    )
    (error,) = errors(spec)
    assert "earlier steps declare nothing" in error.message


@pytest.mark.parametrize(
    ("steps", "field", "said"),
    [
        ((resolve("true"),), "when", "the first step always runs"),
        ((EMPATHY, EMPATHY), "name", "another step has this name"),
        ((Step(name="", models=("m",)),), "name", "`` is no step name"),
        ((Step(name="a.b", models=("m",)),), "name", "`a.b` is no step name"),
        ((Step(name="a", models=()),), "models", "no model"),
        ((Step(name="a", models=("m",) * 65),), "models", "more than 64"),
        ((Step(name="a", models=("m",), output_tokens_max=-1),), "output_tokens_max", "negative"),
        (
            (Step(name="a", models=("m",), output=Output(schema={"type": "string"})),),
            "output.schema",
            "`$` is no object",
        ),
        (
            (
                Step(
                    name="a",
                    models=("m",),
                    output=Output(schema={"type": "object", "properties": {"b": {"type": "c"}}}),
                ),
            ),
            "output.schema.properties.b.type",
            "is none of",
        ),
    ],
)
def test_a_step_that_means_nothing_is_refused(
    steps: tuple[Step, ...], field: str, said: str
) -> None:
    (error,) = errors(MissionProfileSpec(steps=steps))
    assert error.field == field
    assert said in error.message


def test_a_profile_has_either_steps_or_models() -> None:
    assert "neither" in errors(MissionProfileSpec())[0].message
    assert "both" in errors(MissionProfileSpec(steps=(EMPATHY,), models=("m",)))[0].message


def test_a_profile_has_a_bounded_number_of_steps() -> None:
    steps = tuple(Step(name=f"s{index}", models=("m",)) for index in range(STEPS_MAX + 1))
    assert f"more than {STEPS_MAX}" in errors(MissionProfileSpec(steps=steps))[0].message


def test_all_problems_are_told_at_once() -> None:
    spec = MissionProfileSpec(
        steps=(Step(name="a", models=()), resolve("x"), Step(name="c", models=(), when="y"))
    )
    assert [(error.step, error.field) for error in errors(spec)] == [
        ("a", "models"),
        ("resolve", "when"),
        ("c", "models"),
        ("c", "when"),
    ]


def test_a_step_with_a_hyphen_may_have_an_output_that_no_one_asks_about() -> None:
    step = Step(name="first-look", models=("m",), output=SCORE)
    assert len(compile_steps(MissionProfileSpec(steps=(step, resolve("true"))))) == 2


def test_steps_compiled_once_run_where_nothing_can_compile() -> None:
    spec = MissionProfileSpec(steps=(EMPATHY, resolve("steps.empathy.score > 5")))
    library = Library(compiler_of=Environment)
    module.compile_steps(spec, library.over)
    _, step = module.compile_steps(spec, read_library(library.written()).over)
    assert step.runs({"empathy": {"score": 6}})
    assert not step.runs({"empathy": {"score": 4}})


def test_a_condition_that_was_not_compiled_is_refused_with_its_place() -> None:
    spec = MissionProfileSpec(steps=(EMPATHY, resolve("steps.empathy.score > 5")))
    with pytest.raises(StepsRefused) as refused:
        module.compile_steps(spec, Library().over)
    (error,) = refused.value.errors
    assert (error.step_index, error.field) == (1, "when")
    assert "was not compiled: apply the documents again" in error.message
