"""The steps of a mission profile: checked and compiled, and which of them run.

A step's `when` is CEL over `steps.<name>.<field>`, typed by the output schemas of earlier steps. A step
that was skipped, and a field that an answer left out, have no value: a `when` that needs such a value
to be decided is false; one that is decided without it (`a || b` where b is true) is what it is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from harmost.core.errors import InvalidDocuments, StepFailed, Violation
from harmost.core.limits import CANDIDATES_MAX, STEPS_MAX
from harmost.core.mission.schema import OutputSchema, SchemaRefused, compile_schema, is_object
from harmost.core.policy.cel.expression import Expression, ExpressionRefused
from harmost.core.policy.cel.frame import Schema
from harmost.core.policy.cel.library import CompilerOf
from harmost.core.resources.kinds import MissionProfileSpec, Step

__all__ = ["ONLY_STEP", "CompiledStep", "StepError", "StepsRefused", "compile_steps"]

# Name of the step that a profile with `models` instead of `steps` has.
ONLY_STEP = "answer"

# Without dots, which part the path of an output.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NAMES_SHOWN = 10


class StepError(NamedTuple):
    """One problem of one step. `step_index` counts from 0.

    `field` is a path below the step, such as `output.schema.properties.score`. `line` and `column`
    count from 1 inside the CEL of `when`; 0 for other fields.
    """

    step: str
    step_index: int
    field: str
    line: int
    column: int
    message: str


class StepsRefused(InvalidDocuments):
    """Steps that cannot run; `errors` are all their problems, `violations` the same."""

    def __init__(self, errors: Sequence[StepError]) -> None:
        self.errors = tuple(errors)
        super().__init__(
            f"steps have {len(errors)} problems: correct each and apply again",
            violations=[
                Violation(
                    f"steps[{error.step_index}].{error.field}"
                    + (f":{error.line}:{error.column}" if error.line else ""),
                    f"step `{error.step}`: {error.message}",
                )
                for error in errors
            ],
        )


class CompiledStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is known to work. `output_tokens_max` is its own or else the profile's.

    `last`: tools and schema that a caller sends are for this step.
    """

    name: str
    models: tuple[str, ...]
    system: str
    output_tokens_max: int
    when: Expression | None = None
    output: OutputSchema | None = None
    last: bool = False

    def runs(self, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the step runs, given the parsed outputs of the steps that ran, by step name.

        Raises StepFailed where `when` fails on values that are there, such as a division by zero.
        """
        if self.when is None:
            return True
        known = {name: value for name in self.when.names for value in _values(outputs, name)}
        holds, error = self.when.holds_for(known)
        if error and len(known) == len(self.when.names):
            raise StepFailed(f"`when` of step `{self.name}` cannot be evaluated: {error}")
        return holds


def compile_steps(spec: MissionProfileSpec, compiler_of: CompilerOf) -> tuple[CompiledStep, ...]:
    """The steps of a profile in order, at least one; raises StepsRefused with every problem.

    `compiler_of` is what compiles their conditions: front.Environment, or a library.
    """
    compiler = _Compiler(spec, compiler_of)
    if bool(spec.steps) == bool(spec.models):
        message = "profile has both `steps` and `models`: keep one"
        if not spec.steps:
            message = "profile has neither `steps` nor `models`: name at least one model"
        compiler.errors.append(StepError(ONLY_STEP, 0, "models", 0, 0, message))
    elif len(spec.steps) > STEPS_MAX:
        message = f"profile has {len(spec.steps)} steps, more than {STEPS_MAX}: merge some"
        surplus = spec.steps[STEPS_MAX].name
        compiler.errors.append(StepError(surplus, STEPS_MAX, "name", 0, 0, message))
    else:
        only = Step(name=ONLY_STEP, models=spec.models, system=spec.system)
        for index, step in enumerate(spec.steps or (only,)):
            compiler.add(step, index)
    if compiler.errors:
        raise StepsRefused(compiler.errors)
    return tuple(compiler.steps)


class _Compiler:
    """Collects steps and problems; `_types` grows by the output of each step."""

    def __init__(self, spec: MissionProfileSpec, compiler_of: CompilerOf) -> None:
        self.steps: list[CompiledStep] = []
        self.errors: list[StepError] = []
        self._spec = spec
        self._compiler_of = compiler_of
        self._names: set[str] = set()
        self._types: dict[str, str] = {}

    def add(self, step: Step, index: int) -> None:
        for field, message in self._shape_problems(step, index):
            self.errors.append(StepError(step.name, index, field, 0, 0, message))
        when = self._when(step, index) if step.when and index else None
        output = self._output(step, index)
        self._names.add(step.name)
        if output is not None:
            self._types.update(
                (f"steps.{step.name}.{path}", kind) for path, kind in output.cel_types.items()
            )
        self.steps.append(
            CompiledStep(
                name=step.name,
                models=step.models,
                system=step.system,
                output_tokens_max=step.output_tokens_max or self._spec.output_tokens_max,
                when=when,
                output=output,
                last=index == len(self._spec.steps or (step,)) - 1,
            )
        )

    def _shape_problems(self, step: Step, index: int) -> list[tuple[str, str]]:
        problems: list[tuple[str, str]] = []
        if not _NAME.fullmatch(step.name):
            message = f"`{step.name[:100]}` is no step name: use 1 to 63 letters, digits, `_`, `-`"
            problems.append(("name", message))
        if step.name in self._names:
            problems.append(("name", "another step has this name: rename one"))
        if not step.models:
            problems.append(("models", "step has no model: name at least one"))
        if len(step.models) > CANDIDATES_MAX:
            problems.append(("models", f"step has more than {CANDIDATES_MAX} models: remove some"))
        if step.output_tokens_max < 0:
            message = f"`{step.output_tokens_max}` is negative: 0 means the profile's"
            problems.append(("output_tokens_max", message))
        if step.when and index == 0:
            problems.append(("when", "the first step always runs: remove its `when`"))
        return problems

    def _when(self, step: Step, index: int) -> Expression | None:
        try:
            return self._compiler_of(Schema(self._types, defaults=False)).compile(step.when)
        except ExpressionRefused as refused:
            known = ", ".join(f"`{name}`" for name in list(self._types)[:_NAMES_SHOWN]) or "nothing"
            self.errors += [
                StepError(
                    step.name,
                    index,
                    "when",
                    line,
                    column,
                    f"{message}; earlier steps declare {known}",
                )
                for line, column, message in refused.problems
            ]
            return None

    def _output(self, step: Step, index: int) -> OutputSchema | None:
        if step.output is None:
            return None
        try:
            return compile_schema(step.output.schema)
        except SchemaRefused as refused:
            self.errors += [
                StepError(step.name, index, f"output.schema{path[1:]}", 0, 0, f"`{path}` {message}")
                for path, message in refused.problems
            ]
            return None


def _values(outputs: Mapping[str, Mapping[str, Any]], name: str) -> tuple[object, ...]:
    """The value of `steps.<name>.<path>`, or nothing."""
    value: object = outputs
    for part in name.split(".")[1:]:
        if not is_object(value) or part not in value:
            return ()
        value = value[part]
    return (value,)
