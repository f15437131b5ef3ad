"""What a caller is told beside its answer: rules and budgets that warn, wishes left out, models that end."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from harmost.core.policy.decision import Decision
from harmost.core.resources.kinds import ModelSpec
from harmost.core.resources.lifecycle import has_end, warning_of
from harmost.core.resources.resolve import Resource
from harmost.services.router.attempt import Attempt

__all__ = ["warnings_of"]


def warnings_of(
    decision: Decision | None,
    attempts: Sequence[Attempt],
    sent: Sequence[Attempt],
    models: Mapping[str, Resource[ModelSpec]],
    now_s: int,
) -> tuple[str, ...]:
    """Each once, in this order; `sent` are those of `attempts` that reached a provider."""
    hits = decision.hits if decision is not None else ()
    warnings = [
        f"rule `{hit.policy}/{hit.rule}` warns: {hit.message}" for hit in hits if hit.mode == "warn"
    ]
    warnings += [warning for attempt in attempts for warning in attempt.warnings]
    warnings += [
        f"model `{attempt.plan.model}` does not take `{name}`: it was left out"
        for attempt in sent
        for name in attempt.plan.dropped
    ]
    for name in [attempt.plan.model for attempt in sent]:
        if has_end(models[name].spec):
            today = datetime.fromtimestamp(now_s, UTC).date()
            warnings.append(warning_of(name, models[name].spec, today))
    return tuple(dict.fromkeys(filter(None, warnings)))
