"""How a denial reads: which budget, how much is left, until when, and what to do."""

from datetime import UTC, datetime

from harmost.core.budget.nodes import Amount, BudgetLimit, Unit
from harmost.core.errors import BudgetExhausted, RateLimited

__all__ = [
    "amount_text",
    "exhausted",
    "in_unit",
    "mission_exhausted",
    "mission_not_held",
    "mission_price_unknown",
    "price_unknown",
    "too_fast",
]

_UNITS = {Unit.USD_NANOS: "usd_nanos", Unit.TOKENS: "tokens", Unit.REQUESTS: "requests"}


def exhausted(
    limit: BudgetLimit, *, available: int, requested: int, resets_at_ns: int
) -> BudgetExhausted:
    """`limit` has less `available` than what is `requested`; it starts anew then, 0: never."""
    details = _details(limit, available, requested, resets_at_ns)
    until = f"wait until `{details['resets_at']}` or " if resets_at_ns else ""
    return BudgetExhausted(
        f"budget `{limit.budget}` of `{limit.node}` has {_text(limit, available)} "
        f"left of {_text(limit, limit.limit)} {_period(limit)} and {_text(limit, requested)} "
        f"are needed: {until}raise its limit",
        details=details,
    )


def too_fast(
    limit: BudgetLimit, *, available: int, requested: int, wait_ns: int
) -> BudgetExhausted | RateLimited:
    """`limit`, a rate, has less `available` now than is `requested`; enough after a wait, -1: never."""
    details = _details(limit, available, requested, 0)
    rate = f"budget `{limit.budget}` of `{limit.node}` lets {_text(limit, limit.limit)} a minute through"
    if wait_ns < 0:
        return BudgetExhausted(
            f"{rate}, never {_text(limit, requested)} at once: ask for less or raise its limit",
            details=details,
        )
    # In whole milliseconds, up: who comes then is not too early.
    wait_ms = wait_ns // 10**6 + 1
    return RateLimited(
        f"{rate}, has {_text(limit, available)} left now and {_text(limit, requested)} are needed: "
        f"try again in {wait_ms / 1_000:g} s",
        retry_after_s=wait_ms / 1_000,
        details=details | {"retry_after_ms": str(wait_ms)},
    )


def price_unknown(
    model: str, limit: BudgetLimit, *, available: int = 0, resets_at_ns: int = 0
) -> BudgetExhausted:
    """A hard ceiling of money cannot bound what has no price."""
    return BudgetExhausted(
        f"the price of model `{model}` is not known: add `price` to its Model document",
        details={
            **_details(limit, available, 0, resets_at_ns),
            "reason": "price_unknown",
            "model": model,
        },
    )


def mission_exhausted(
    profile: str, *, limit: int, available: int, requested: int
) -> BudgetExhausted:
    """A mission of `profile` has too little left of its own ceiling; amounts are nanodollars."""
    return BudgetExhausted(
        f"a mission of `{profile}` may cost {_dollars(limit)}, has {_dollars(available)} left and "
        f"{_dollars(requested)} are needed: raise `cost.usd_max` of the profile",
        details={
            "budget": "",
            "node": f"mission:{profile}",
            "unit": "usd_nanos",
            "window": "mission",
            "limit": str(limit),
            "available": str(available),
            "requested": str(requested),
            "resets_at": "",
        },
    )


def mission_not_held(profile: str, usd_nanos: int, cause: BudgetExhausted) -> BudgetExhausted:
    """The budgets above cannot give a mission of `profile` all at once what it may cost: `cause`."""
    return BudgetExhausted(
        f"a mission of `{profile}` has {_dollars(usd_nanos)} held before it begins (`cost.reserve`), "
        f"and {cause.message}",
        details={**cause.details, "reserve": "mission"},
    )


def mission_price_unknown(profile: str, model: str) -> BudgetExhausted:
    """A mission's own ceiling cannot bound what has no price."""
    return BudgetExhausted(
        f"the price of model `{model}` is not known and `cost.usd_max` of profile `{profile}` bounds "
        "it: add `price` to its Model document",
        details={"node": f"mission:{profile}", "reason": "price_unknown", "model": model},
    )


def amount_text(unit: Unit, amount: int) -> str:
    """`amount` of `unit` for people: "-0.5 US dollars", "12 tokens"."""
    return _dollars(amount) if unit is Unit.USD_NANOS else f"{amount} {_UNITS[unit]}"


def in_unit(amount: Amount, unit: Unit) -> int:
    """What one attempt of `amount` takes of a limit in `unit`."""
    return {Unit.USD_NANOS: amount.usd_nanos, Unit.TOKENS: amount.tokens}.get(unit, 1)


def _details(
    limit: BudgetLimit, available: int, requested: int, resets_at_ns: int
) -> dict[str, str]:
    return {
        "budget": limit.budget,
        "node": limit.node,
        "unit": _UNITS[limit.unit],
        "window": limit.window,
        "limit": str(limit.limit),
        "available": str(max(0, available)),
        "requested": str(requested),
        "resets_at": _rfc3339(resets_at_ns),
    }


def _text(limit: BudgetLimit, amount: int) -> str:
    return amount_text(limit.unit, max(0, amount))


def _dollars(usd_nanos: int) -> str:
    sign = "-" if usd_nanos < 0 else ""
    dollars, nanos = divmod(abs(usd_nanos), 10**9)
    return f"{sign}{dollars}.{nanos:09d}".rstrip("0").rstrip(".") + " US dollars"


def _period(limit: BudgetLimit) -> str:
    return "in total" if limit.window == "total" else f"this {limit.window}"


def _rfc3339(time_ns: int) -> str:
    # Windows begin and end on whole seconds.
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
