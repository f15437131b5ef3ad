"""What a world of money may spend: an organisation, its teams, a user of each."""

from harmost.core.budget.nodes import BudgetLimits, compile_limits
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata

__all__ = ["limits"]

USD = ("0.004", "0.0025", "0.0012")  # of the organisation, a team, a user of it
TOKENS = (4_000, 3_000, 0)
TOKENS_A_MINUTE = (60_000, 50_000)
SOFT_REQUESTS = 5


def limits(scale: int = 100, *, token_scale: int = 100, rates: bool = False) -> BudgetLimits:
    """Three levels with days of Berlin and hours; money `scale` percent of what it is at first.

    With `rates`, the upper two also bound the tokens of a minute.
    """
    documents: dict[str, tuple[Metadata, BudgetSpec]] = {}
    for name, tenant, level, user in (
        ("org", "org", 0, ""),
        ("a", "org/a", 1, ""),
        ("b", "org/b", 1, ""),
        ("user-a", "org/a", 2, "u"),
        ("user-b", "org/b", 2, "u"),
    ):
        nanos = int(float(USD[level]) * 10**9) * scale // 100
        usd = f"{nanos // 10**9}.{nanos % 10**9:09d}"
        stated = [Limit(window="day", usd=usd), Limit(window="total", usd=f"{nanos * 9 / 1e9:.9f}")]
        if TOKENS[level]:
            stated.append(Limit(window="hour", tokens=TOKENS[level] * token_scale // 100))
            stated.append(Limit(window="hour", requests=SOFT_REQUESTS, enforcement="soft"))
            if rates:
                stated.append(Limit(window="minute", tokens=TOKENS_A_MINUTE[level]))
        spec = BudgetSpec(limits=tuple(stated), end_user=user, timezone="Europe/Berlin")
        documents[name] = (Metadata(name=name, tenant=tenant), spec)
    return compile_limits(documents)
