"""What is paid, by whom, for what; how full budgets are."""

from parts import BILLED, BUDGET, OF_PROFILE, PER_HOUR, PROFILES, USD, Dashboard, Panel, rate, stat

__all__ = ["SPEND"]

SPEND = Dashboard(
    "harmost-spend",
    "harmost / spend and budgets",
    "What is paid, by whom, for what; how full budgets are, and until when.",
    (PROFILES,),
    (
        (
            "Now",
            (
                stat(
                    "Spent",
                    "currencyUSD",
                    f"sum(increase(harmost_cost_usd_total{{{OF_PROFILE}}}[$__range]))",
                    "In the time that is shown.",
                ),
                stat(
                    "Pace, an hour",
                    "currencyUSD",
                    PER_HOUR + rate("harmost_cost_usd_total", OF_PROFILE),
                    "Now.",
                ),
                stat(
                    "Tokens",
                    "short",
                    f"sum(increase(harmost_tokens_total{{{OF_PROFILE}, {BILLED}}}[$__range]))",
                    "Input and output, in the time that is shown.",
                ),
                stat(
                    "Held",
                    "currencyUSD",
                    f"sum(harmost_budget_held{USD})",
                    "The worst case of what runs now, on every level of budgets that it counts for.",
                ),
                stat(
                    "Suspense",
                    "currencyUSD",
                    f"sum(harmost_budget_suspense{USD})",
                    "Lent to Routers that are gone: their journals will tell.",
                ),
                stat(
                    "Debt",
                    "currencyUSD",
                    f"sum(harmost_budget_debt{USD})",
                    "What providers billed above what was held.",
                ),
            ),
        ),
        (
            "Budgets",
            (
                Panel(
                    "Used",
                    "percentunit",
                    (("harmost:budget_used:ratio", BUDGET),),
                    "Of each ceiling, held included.",
                    kind="bargauge",
                    width=12,
                ),
                Panel(
                    "Used over time",
                    "percentunit",
                    (("harmost:budget_used:ratio", BUDGET),),
                    "Falls to nothing where a window begins anew.",
                    width=12,
                ),
                Panel(
                    "Hours left at this pace",
                    "h",
                    (
                        (
                            (
                                "(harmost_budget_limit - harmost_budget_settled) "
                                "/ (deriv(harmost_budget_settled[15m]) > 0) / 3600"
                            ),
                            BUDGET,
                        ),
                    ),
                    "By the pace of 15 minutes; nothing for what nobody uses.",
                ),
                Panel(
                    "Settled",
                    "currencyUSD",
                    ((f"harmost_budget_settled{USD}", BUDGET),),
                    "Of budgets in money.",
                ),
                Panel(
                    "Held, leased, suspense, debt",
                    "currencyUSD",
                    tuple(
                        (f"sum(harmost_budget_{kind}{USD})", kind)
                        for kind in ("held", "leased", "suspense", "debt")
                    ),
                    "Of budgets in money, every level counted.",
                ),
            ),
        ),
        (
            "Money and tokens",
            (
                Panel(
                    "Cost by profile, an hour",
                    "currencyUSD",
                    (
                        (
                            PER_HOUR
                            + rate("harmost_cost_usd_total", OF_PROFILE, "harmost_profile"),
                            "{{harmost_profile}}",
                        ),
                    ),
                    "At the pace of each moment.",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Cost by model, an hour",
                    "currencyUSD",
                    (
                        (
                            PER_HOUR + rate("harmost_cost_usd_total", OF_PROFILE, "harmost_model"),
                            "{{harmost_model}}",
                        ),
                    ),
                    "At the pace of each moment.",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Tokens by profile",
                    "short",
                    (
                        (
                            rate(
                                "harmost_tokens_total", f"{OF_PROFILE}, {BILLED}", "harmost_profile"
                            ),
                            "{{harmost_profile}}",
                        ),
                    ),
                    "Input and output, in a second.",
                    stacked=True,
                ),
                Panel(
                    "Tokens by class",
                    "short",
                    (
                        (
                            rate("harmost_tokens_total", OF_PROFILE, "harmost_token_class"),
                            "{{harmost_token_class}}",
                        ),
                    ),
                    "In a second. Cached input and cache writes are parts of input, reasoning of output.",
                ),
                Panel(
                    "Cost of a million tokens",
                    "currencyUSD",
                    (
                        (
                            "1e6 * "
                            + rate("harmost_cost_usd_total", OF_PROFILE, "harmost_model")
                            + " / ("
                            + rate(
                                "harmost_tokens_total", f"{OF_PROFILE}, {BILLED}", "harmost_model"
                            )
                            + " > 0)",
                            "{{harmost_model}}",
                        ),
                    ),
                    "Input and output as they were mixed.",
                ),
            ),
        ),
    ),
)
