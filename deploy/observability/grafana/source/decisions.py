"""What policy says of calls, by which rules."""

from parts import (
    BUDGET_DENIED,
    DENIED,
    KILLED,
    OF_PROFILE,
    PROFILES,
    Dashboard,
    Panel,
    or_none,
    rate,
    share,
    stat,
)

__all__ = ["DECISIONS"]

DECISIONS = Dashboard(
    "harmost-decisions",
    "harmost / decisions",
    "What policy says of calls, by which rules, and who is refused.",
    (PROFILES,),
    (
        (
            "Now",
            (
                stat(
                    "Decisions",
                    "reqps",
                    rate("harmost_decisions_total", OF_PROFILE),
                    "In a second.",
                ),
                stat(
                    "Denied",
                    "percentunit",
                    share(
                        rate("harmost_decisions_total", DENIED),
                        rate("harmost_decisions_total", OF_PROFILE),
                    ),
                    "By policy, of all decisions.",
                ),
                stat("Rules that matched", "reqps", rate("harmost_rules_total"), "In a second."),
                stat(
                    "Redacted",
                    "short",
                    rate("harmost_redactions_total"),
                    "Pieces of text replaced, in a second.",
                ),
                stat(
                    "Refused by budgets",
                    "reqps",
                    or_none(rate("harmost_calls_total", BUDGET_DENIED)),
                    "Calls that a ceiling, or its pace, refused.",
                ),
                stat(
                    "Stopped",
                    "reqps",
                    or_none(rate("harmost_calls_total", KILLED)),
                    "Calls that a kill switch, or the removal of a key, ended.",
                ),
            ),
        ),
        (
            "Decisions",
            (
                Panel(
                    "Decisions by effect",
                    "reqps",
                    (
                        (
                            rate("harmost_decisions_total", OF_PROFILE, "harmost_decision_effect"),
                            "{{harmost_decision_effect}}",
                        ),
                    ),
                    "What policy said.",
                    stacked=True,
                ),
                Panel(
                    "Denials by profile",
                    "reqps",
                    (
                        (
                            rate(
                                "harmost_decisions_total",
                                DENIED,
                                "harmost_profile",
                            ),
                            "{{harmost_profile}}",
                        ),
                    ),
                    "Who meets rules that deny.",
                    stacked=True,
                ),
                Panel(
                    "Why calls are refused",
                    "reqps",
                    (
                        (
                            rate(
                                "harmost_calls_total",
                                f'{OF_PROFILE}, harmost_reason!=""',
                                "harmost_reason",
                            ),
                            "{{harmost_reason}}",
                        ),
                    ),
                    "Stable reasons of denials and failures.",
                    stacked=True,
                ),
            ),
        ),
        (
            "Rules",
            (
                Panel(
                    "Rules that match most",
                    "reqps",
                    (
                        (
                            f"topk(15, {rate('harmost_rules_total', by='harmost_rule')})",
                            "{{harmost_rule}}",
                        ),
                    ),
                    "All effects and modes.",
                    width=12,
                ),
                Panel(
                    "Rules by effect and mode",
                    "reqps",
                    (
                        (
                            rate(
                                "harmost_rules_total", by="harmost_rule_effect, harmost_rule_mode"
                            ),
                            "{{harmost_rule_effect}}, {{harmost_rule_mode}}",
                        ),
                    ),
                    "A shadow rule shows here what it would do.",
                    width=12,
                ),
                Panel(
                    "Rules that matched, in the time shown",
                    "short",
                    (
                        (
                            (
                                "sort_desc(sum by (harmost_rule, harmost_rule_effect, harmost_rule_mode) "
                                "(increase(harmost_rules_total[$__range])))"
                            ),
                            "",
                        ),
                    ),
                    "One that never matches is not listed: `harmost policy lint` says whether it can.",
                    kind="table",
                    width=12,
                ),
                Panel(
                    "Redactions by class",
                    "short",
                    (
                        (
                            rate("harmost_redactions_total", by="harmost_data_class"),
                            "{{harmost_data_class}}",
                        ),
                    ),
                    "Pieces of text replaced before they left, in a second.",
                    width=12,
                    stacked=True,
                ),
            ),
        ),
    ),
)
