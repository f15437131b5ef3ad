"""Is everything up, fast and whole?"""

from parts import Dashboard, Panel, quantile, quantiles, rate, stat

__all__ = ["FLEET"]

FLEET = Dashboard(
    "harmost-fleet",
    "harmost / fleet",
    "Is everything up, fast and whole?",
    (),
    (
        (
            "Now",
            (
                stat(
                    "Calls", "reqps", rate("harmost_calls_total"), "Calls that ended, in a second."
                ),
                stat(
                    "Availability, 1 h",
                    "percentunit",
                    "1 - harmost:unavailable:ratio_rate1h",
                    "Calls answered, of those that were to be. The goal is 99.5 %.",
                ),
                stat(
                    "First token, p95",
                    "s",
                    quantile(0.95, "harmost_call_first_token_seconds"),
                    "From admission to the first token that left for the caller.",
                ),
                stat(
                    "Added by harmost, p95",
                    "s",
                    quantile(0.95, "harmost_call_added_seconds"),
                    "Part of the time to the first token that no provider was waited for.",
                ),
                stat("Calls in flight", "short", "sum(harmost_router_calls)", "On all workers."),
                stat("Workers up", "short", "sum(harmost_router_up)", "Routers that answer."),
            ),
        ),
        (
            "Calls",
            (
                Panel(
                    "How calls end",
                    "reqps",
                    ((rate("harmost_calls_total", by="harmost_status"), "{{harmost_status}}"),),
                    "Denials are answers: they count neither for nor against availability.",
                    stacked=True,
                ),
                Panel(
                    "Time to the end",
                    "s",
                    quantiles("harmost_call_duration_seconds"),
                    "From admission to the end of the answer.",
                ),
                Panel(
                    "Time to the first token",
                    "s",
                    quantiles("harmost_call_first_token_seconds"),
                    "The goal: 95 % within 2.56 s.",
                ),
                Panel(
                    "Added by harmost",
                    "s",
                    quantiles("harmost_call_added_seconds"),
                    "Policy, budget, journal, and moving to another model: all but waiting for providers.",
                ),
                Panel(
                    "Error budget burn",
                    "short",
                    (
                        *tuple(
                            (
                                f"harmost:unavailable:ratio_rate{window} / 0.005",
                                f"availability {window}",
                            )
                            for window in ("1h", "6h", "3d")
                        ),
                        ("harmost:slow:ratio_rate1h / 0.05", "first token 1h"),
                    ),
                    "1 uses up the month's error budget in exactly a month; above 14.4 somebody is paged.",
                ),
                Panel(
                    "Alerts",
                    "short",
                    (
                        (
                            (
                                'count by (alertname, severity) (ALERTS{alertname=~"Harmost.+", '
                                'alertstate="firing"}) or vector(0)'
                            ),
                            "{{alertname}} {{severity}}",
                        ),
                    ),
                    "Alerts that fire.",
                ),
            ),
        ),
        (
            "Routers",
            (
                Panel(
                    "Calls in flight by worker",
                    "short",
                    (("harmost_router_calls", "{{harmost_router}}"),),
                    "The kernel deals connections out: one that stands apart has a busy connection.",
                    stacked=True,
                ),
                Panel(
                    "Journal",
                    "bytes",
                    (("harmost_router_journal_size_bytes", "{{harmost_router}}"),),
                    "At 1 GiB calls are refused. It grows where Telemetry or Budget is away.",
                ),
                Panel(
                    "Settlements owed",
                    "short",
                    (("harmost_router_settlements_owed", "{{harmost_router}}"),),
                    "Closed attempts that the ledger has yet to take.",
                ),
                Panel(
                    "Held",
                    "currencyUSD",
                    (("harmost_router_held_usd", "{{harmost_router}}"),),
                    "The worst case of all attempts that run now.",
                    stacked=True,
                ),
                Panel(
                    "Policy generation",
                    "none",
                    (
                        ("harmost_router_snapshot_generation", "{{harmost_router}}"),
                        ("harmost_snapshot_generation", "newest"),
                    ),
                    "A worker that stays behind refused a snapshot: `harmost policy status` says why.",
                ),
                Panel(
                    "Since Policy was heard",
                    "s",
                    (("harmost_snapshot_age_seconds", "Telemetry"),),
                    "While Policy is away, the last good snapshot decides.",
                ),
            ),
        ),
        (
            "Records",
            (
                Panel(
                    "Records that came",
                    "reqps",
                    ((rate("harmost_records_total", by="harmost_router"), "{{harmost_router}}"),),
                    "A worker whose line is flat while it serves cannot reach Telemetry.",
                ),
                Panel(
                    "Clocks",
                    "s",
                    (("harmost_router_clock_ahead_seconds", "{{harmost_router}}"),),
                    "How far each worker's clock is ahead of Telemetry's.",
                ),
                Panel(
                    "Export",
                    "short",
                    (
                        ("harmost_export_backlog", "waiting, {{harmost_destination}}"),
                        (
                            "increase(harmost_export_dropped_total[$__rate_interval])",
                            "given up, {{harmost_destination}}",
                        ),
                        (
                            "increase(harmost_export_failures_total[$__rate_interval])",
                            "failed requests, {{harmost_destination}}",
                        ),
                    ),
                    "Spans on their way to a collector; nothing where none is set up.",
                ),
            ),
        ),
    ),
)
