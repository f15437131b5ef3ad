"""What a caller is told when no model answers, or not to the end."""

from collections.abc import Sequence

from harmost.core.errors import BudgetExhausted, ProviderFailed, RateLimited
from harmost.services.router.attempt import Attempt
from harmost.services.router.events import Finished

__all__ = ["none_left", "raise_if_broken"]


def none_left(
    failed: Sequence[Attempt], refused: BudgetExhausted | RateLimited | None
) -> BudgetExhausted | RateLimited | ProviderFailed:
    """Why no candidate is left to be tried: what each of `failed` was told, and who `refused` another."""
    if refused is not None and not failed:
        return refused
    errors = [
        (attempt.plan.model, error) for attempt in failed if (error := attempt.error) is not None
    ]
    tries = "; ".join(f"`{model}`: {error.message}" for model, error in errors)
    if refused is not None:
        tries += f"; no budget for another: {refused.message}"
    waits = [error.retry_after_s for _, error in errors if error.retry_after_s]
    return ProviderFailed(
        f"no model answered: {tries}",
        retry_after_s=min(waits, default=0.0),
        details={"error_kinds": ",".join(error.kind for _, error in errors)},
    )


def raise_if_broken(finished: Finished) -> None:
    """A half answer must not pass for a whole one: its stream ends with an error, after `finished`."""
    if finished.finish_reason == "provider_broke":
        last = finished.record.attempts[-1]
        raise ProviderFailed(
            f"`{finished.model}` broke off in the middle of its answer: {last.error}",
            details={"record_id": finished.record.record_id, "error_kinds": last.error_kind},
        )
