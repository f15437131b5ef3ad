"""What one mission profile does, costs and waits for."""

from parts import (
    ANSWERABLE,
    BILLED,
    FAILED,
    OF_PROFILE,
    PER_HOUR,
    PROFILE,
    REFUSED,
    Dashboard,
    Panel,
    quantile,
    quantiles,
    rate,
    share,
    stat,
)

__all__ = ["ONE_PROFILE"]

ONE_PROFILE = Dashboard(
    "harmost-profile",
    "harmost / one profile",
    "What one mission profile does, costs and waits for.",
    (PROFILE,),
    (
        (
            "Now",
            (
                stat("Calls", "reqps", rate("harmost_calls_total", OF_PROFILE), "That ended."),
                stat(
                    "Failed",
                    "percentunit",
                    share(
                        rate("harmost_calls_total", f"{OF_PROFILE}, {FAILED}"),
                        rate("harmost_calls_total", f"{OF_PROFILE}, {ANSWERABLE}"),
                    ),
                    "Of calls that were to be answered.",
                ),
                stat(
                    "Denied",
                    "percentunit",
                    share(
                        rate("harmost_calls_total", REFUSED),
                        rate("harmost_calls_total", OF_PROFILE),
                    ),
                    "By policy or a budget.",
                ),
                stat(
                    "First token, p95",
                    "s",
                    quantile(0.95, "harmost_call_first_token_seconds", OF_PROFILE),
                    "From admission on.",
                ),
                stat(
                    "Cost, an hour",
                    "currencyUSD",
                    PER_HOUR + rate("harmost_cost_usd_total", OF_PROFILE),
                    "At the pace of now.",
                ),
                stat(
                    "Tokens",
                    "short",
                    rate("harmost_tokens_total", f"{OF_PROFILE}, {BILLED}"),
                    "Input and output, in a second.",
                ),
            ),
        ),
        (
            "Calls",
            (
                Panel(
                    "How calls end",
                    "reqps",
                    (
                        (
                            rate(
                                "harmost_calls_total", OF_PROFILE, "harmost_status, harmost_reason"
                            ),
                            "{{harmost_status}} {{harmost_reason}}",
                        ),
                    ),
                    "With the reason of a denial or failure.",
                    stacked=True,
                ),
                Panel(
                    "Time to the end",
                    "s",
                    quantiles("harmost_call_duration_seconds", OF_PROFILE),
                    "From admission to the end of the answer.",
                ),
                Panel(
                    "Time to the first token",
                    "s",
                    quantiles("harmost_call_first_token_seconds", OF_PROFILE),
                    "From admission to the first token that left for the caller.",
                ),
                Panel(
                    "Added by harmost",
                    "s",
                    quantiles("harmost_call_added_seconds", OF_PROFILE),
                    "All but waiting for providers.",
                ),
                Panel(
                    "Decisions",
                    "reqps",
                    (
                        (
                            rate("harmost_decisions_total", OF_PROFILE, "harmost_decision_effect"),
                            "{{harmost_decision_effect}}",
                        ),
                    ),
                    "What policy said of its calls.",
                    stacked=True,
                ),
                Panel(
                    "Durations of calls",
                    "s",
                    (
                        (
                            rate("harmost_call_duration_seconds_bucket", OF_PROFILE, "le"),
                            "{{le}}",
                        ),
                    ),
                    "How many calls ended in which time.",
                    kind="heatmap",
                ),
            ),
        ),
        (
            "Use",
            (
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
                    "Tokens by class",
                    "short",
                    (
                        (
                            rate("harmost_tokens_total", OF_PROFILE, "harmost_token_class"),
                            "{{harmost_token_class}}",
                        ),
                    ),
                    "In a second. Cached input and cache writes are parts of input, reasoning of output.",
                    width=12,
                ),
            ),
        ),
    ),
)
