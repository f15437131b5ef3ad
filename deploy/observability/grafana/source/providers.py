"""How fast and how whole each provider answers."""

from parts import (
    BILLED,
    DURATION,
    FIRST_CHUNK,
    OF_PROVIDER,
    PER_HOUR,
    PROVIDERS,
    THROTTLED,
    UNFINISHED,
    Dashboard,
    Panel,
    either,
    or_none,
    quantile,
    quantiles,
    rate,
    share,
    stat,
)

__all__ = ["PROVIDER"]

PROVIDER = Dashboard(
    "harmost-providers",
    "harmost / providers",
    "How fast and how whole each provider answers, and what moves away from it.",
    (PROVIDERS,),
    (
        (
            "Now",
            (
                stat(
                    "Attempts", "reqps", rate("harmost_attempts_total", OF_PROVIDER), "In a second."
                ),
                stat(
                    "Not completed",
                    "percentunit",
                    share(
                        rate(
                            "harmost_attempts_total",
                            UNFINISHED,
                        ),
                        rate("harmost_attempts_total", OF_PROVIDER),
                    ),
                    "Of attempts; those that the caller ended count as neither.",
                ),
                stat(
                    "Throttled",
                    "reqps",
                    or_none(rate("harmost_attempts_total", THROTTLED)),
                    "Refused for load (429).",
                ),
                stat(
                    "Moves to another model",
                    "reqps",
                    or_none(rate("harmost_hops_total")),
                    "After a candidate failed.",
                ),
                stat(
                    "First token, p95",
                    "s",
                    f"max({either(*FIRST_CHUNK, 0.95, 'gen_ai_provider_name')})",
                    "Of the slowest provider, from sending on.",
                ),
                stat(
                    "Cost, an hour",
                    "currencyUSD",
                    PER_HOUR + rate("harmost_cost_usd_total"),
                    "Of all providers, now.",
                ),
            ),
        ),
        (
            "Health",
            (
                Panel(
                    "Attempts by provider",
                    "reqps",
                    (
                        (
                            rate("harmost_attempts_total", OF_PROVIDER, "harmost_provider"),
                            "{{harmost_provider}}",
                        ),
                    ),
                    "That ended.",
                    stacked=True,
                ),
                Panel(
                    "How attempts end",
                    "reqps",
                    (
                        (
                            rate("harmost_attempts_total", OF_PROVIDER, "harmost_attempt_outcome"),
                            "{{harmost_attempt_outcome}}",
                        ),
                    ),
                    "Of the providers chosen above.",
                    stacked=True,
                ),
                Panel(
                    "Not completed, by provider",
                    "percentunit",
                    (
                        (
                            share(
                                rate(
                                    "harmost_attempts_total",
                                    UNFINISHED,
                                    "harmost_provider",
                                ),
                                rate("harmost_attempts_total", OF_PROVIDER, "harmost_provider"),
                            ),
                            "{{harmost_provider}}",
                        ),
                    ),
                    "Of each one's attempts.",
                ),
                Panel(
                    "Moves from model to model",
                    "reqps",
                    (
                        (
                            rate("harmost_hops_total", by="harmost_hop_from, harmost_hop_to"),
                            "{{harmost_hop_from}} to {{harmost_hop_to}}",
                        ),
                    ),
                    "Which model failed, and which was tried next.",
                    width=12,
                ),
                Panel(
                    "Why they move",
                    "reqps",
                    (
                        (
                            rate("harmost_hops_total", by="harmost_attempt_outcome"),
                            "{{harmost_attempt_outcome}}",
                        ),
                    ),
                    "How the attempt before ended.",
                    width=12,
                    stacked=True,
                ),
            ),
        ),
        (
            "Speed",
            (
                Panel(
                    "First token by model, p95",
                    "s",
                    (
                        (
                            either(
                                *FIRST_CHUNK,
                                0.95,
                                "gen_ai_provider_name, gen_ai_request_model",
                            ),
                            "{{gen_ai_provider_name}} {{gen_ai_request_model}}",
                        ),
                    ),
                    "From sending to the first token.",
                ),
                Panel(
                    "Time to the end by model, p95",
                    "s",
                    (
                        (
                            either(
                                *DURATION,
                                0.95,
                                "gen_ai_provider_name, gen_ai_request_model",
                            ),
                            "{{gen_ai_provider_name}} {{gen_ai_request_model}}",
                        ),
                    ),
                    "From sending to the end of the answer.",
                ),
                Panel(
                    "Time of a token by model, median",
                    "s",
                    (
                        (
                            quantile(
                                0.5,
                                "gen_ai_server_time_per_output_token_seconds",
                                by="gen_ai_provider_name, gen_ai_request_model",
                            ),
                            "{{gen_ai_provider_name}} {{gen_ai_request_model}}",
                        ),
                    ),
                    "Each one after the first, as the caller got it.",
                ),
            ),
        ),
        (
            "Use",
            (
                Panel(
                    "Tokens by model",
                    "short",
                    ((rate("harmost_tokens_total", BILLED, "harmost_model"), "{{harmost_model}}"),),
                    "Input and output, in a second.",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Cost by model, an hour",
                    "currencyUSD",
                    (
                        (
                            PER_HOUR + rate("harmost_cost_usd_total", by="harmost_model"),
                            "{{harmost_model}}",
                        ),
                    ),
                    "At the pace of each moment.",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Error of token estimates by model, p95",
                    "percentunit",
                    quantiles("harmost_token_estimate_error", by="harmost_model"),
                    "Expected input against what the provider counted; 17 % is the goal.",
                    width=12,
                ),
            ),
        ),
    ),
)
