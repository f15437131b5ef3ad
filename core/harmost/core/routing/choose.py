"""Which candidate is tried, and whether a failed attempt is followed by another. Pure.

The order is the profile's, or by price where a budget asks for cheaper models; models that rest
(health.py) come last. Latency will weigh in here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from harmost.core.budget.price import ModelPrice, worst_case_usd_nanos
from harmost.core.limits import USD_NANOS_MAX
from harmost.core.policy.decision import Exclusion, RuleHit
from harmost.core.providers.codec import ProviderErrorKind
from harmost.core.resources.kinds import ModelSpec

__all__ = ["HOPS", "chosen"]

# Failures before the first token that another model may not share. A request that the provider
# calls wrong is wrong elsewhere too, except that it may fit a longer context.
HOPS: frozenset[ProviderErrorKind] = frozenset(
    {
        "connect_failed",
        "throttled",
        "quota_exhausted",
        "overloaded",
        "timeout",
        "provider_error",
        "auth",
        "not_found",
        "broken",
        "stalled",
        "context_too_long",
    }
)


def chosen(
    candidates: Sequence[str],
    *,
    models: Mapping[str, ModelSpec],
    prices: Mapping[str, ModelPrice | None],
    input_tokens: int,
    input_tokens_of: Callable[[str], int],
    output_tokens_max: int,
    usd_nanos_per_1k_tokens_max: int | None,
    profile: str,
    unfit: Mapping[str, str] = {},
    cheaper_first: bool = False,
    resting: Collection[str] = (),
) -> tuple[tuple[str, ...], tuple[Exclusion, ...]]:
    """Candidates to try in order, and those left out: `unfit`, retired, too small, or too dear.

    The order is that given; with `cheaper_first` by what an attempt may cost, of equal ones as
    given, and those without a price last. Those `resting` come after all others.
    The ceiling is the tighter of what the profile says and policy caps; None: neither does.
    `input_tokens` is the estimate for any model; the expected blended price is that of input and
    output together, so what a provider reports moves no ceiling. `input_tokens_of` tells what has been
    learned of one model: whether the input fits its context.
    """
    kept: list[str] = []
    left_out: list[Exclusion] = []
    for name in candidates:
        why = unfit.get(name, "") or _unfit(models[name], input_tokens_of(name))
        if not why and usd_nanos_per_1k_tokens_max is not None:
            why = _too_dear(
                prices.get(name), input_tokens, output_tokens_max, usd_nanos_per_1k_tokens_max
            )
        if why:
            left_out.append(Exclusion(model=name, hit=_hit(profile, why)))
        else:
            kept.append(name)
    if cheaper_first:
        kept.sort(key=lambda name: _worst(prices.get(name), input_tokens, output_tokens_max))
    if resting:
        kept.sort(key=lambda name: name in resting)
    return tuple(kept), tuple(left_out)


def _worst(price: ModelPrice | None, input_tokens: int, output_tokens_max: int) -> int:
    if price is None:
        return USD_NANOS_MAX + 1
    return worst_case_usd_nanos(
        price, input_tokens_max=input_tokens, output_tokens_max=output_tokens_max
    )


def _unfit(model: ModelSpec, input_tokens: int) -> str:
    if model.status == "retired":
        return "the model is retired"
    if input_tokens >= model.context_tokens_max:
        return (
            f"about {input_tokens} input tokens do not fit its context of "
            f"{model.context_tokens_max}"
        )
    return ""


def _too_dear(
    price: ModelPrice | None, input_tokens: int, output_tokens_max: int, ceiling_usd_nanos: int
) -> str:
    """The blended price of input and output together, against the ceiling for 1,000 tokens."""
    if price is None:
        return "its price is not known, and there is a cost ceiling"
    usd_nanos = worst_case_usd_nanos(
        price, input_tokens_max=input_tokens, output_tokens_max=output_tokens_max
    )
    tokens = max(input_tokens + output_tokens_max, 1)
    if usd_nanos * 1000 > ceiling_usd_nanos * tokens:
        return (
            f"an attempt would cost ${usd_nanos * 1000 / tokens / 1e9:.6f} for 1,000 tokens: "
            f"the ceiling is ${ceiling_usd_nanos / 1e9:.6f}"
        )
    return ""


def _hit(profile: str, message: str) -> RuleHit:
    return RuleHit(policy=f"profile {profile}", rule="choose", effect="require", message=message)
