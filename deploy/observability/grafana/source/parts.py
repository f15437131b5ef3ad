"""Panels and what they ask: the words that the dashboards in this folder are written in.

Names of metrics are those of core/harmost/core/otel/instruments.py.
"""

from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PER_HOUR = "3600 * "


class Panel(NamedTuple):
    """A panel: what it asks (PromQL and a legend each), in which unit, how it looks."""

    title: str
    unit: str
    asks: tuple[tuple[str, str], ...]
    about: str
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False


class Dashboard(NamedTuple):
    """A dashboard: its panels in rows of a title each."""

    uid: str
    title: str
    about: str
    variables: tuple[dict[str, Any], ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def stat(title: str, unit: str, expression: str, about: str) -> Panel:
    """One figure."""
    return Panel(title, unit, ((expression, ""),), about, kind="stat", width=4, height=4)


def rate(metric: str, selector: str = "", by: str = "") -> str:
    """How much `metric` grows in a second."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{selector}}}[$__rate_interval]))"


def quantiles(metric: str, selector: str = "", by: str = "") -> tuple[tuple[str, str], ...]:
    """Median, 95 and 99 of 100 of a histogram; with `by` the 95 alone, for each."""
    if by:
        return ((quantile(0.95, metric, selector, by), f"{{{{{by}}}}}"),)
    return tuple((quantile(q, metric, selector), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99))


def quantile(q: float, metric: str, selector: str = "", by: str = "") -> str:
    """What `q` of all observations stay below."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', selector, groups)})"


def either(old: str, new: str, q: float, by: str) -> str:
    """A quantile of a metric that has one name or the other, as HARMOST_OTEL_CONVENTIONS says."""
    rates = " or ".join(f"rate({name}_bucket[$__rate_interval])" for name in (old, new))
    return f"histogram_quantile({q}, sum by (le, {by}) ({rates}))"


def variable(name: str, metric: str, label: str, *, several: bool) -> dict[str, Any]:
    """A choice among the values of a label."""
    return {
        "type": "query",
        "name": name,
        "label": name,
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if several else {}),
    }


PROFILES = variable("profile", "harmost_calls_total", "harmost_profile", several=True)
PROFILE = variable("profile", "harmost_calls_total", "harmost_profile", several=False)
PROVIDERS = variable("provider", "harmost_attempts_total", "harmost_provider", several=True)
OF_PROFILE = 'harmost_profile=~"$profile"'
OF_PROVIDER = 'harmost_provider=~"$provider"'
BILLED = 'harmost_token_class=~"input|output"'
BUDGET = "{{harmost_budget}} ({{harmost_budget_unit}} a {{harmost_budget_window}})"
USD = '{harmost_budget_unit="usd"}'
REFUSED = f'{OF_PROFILE}, harmost_status=~".+_denied"'
BUDGET_DENIED = f'{OF_PROFILE}, harmost_status="budget_denied"'
KILLED = f'{OF_PROFILE}, harmost_status="killed"'
DENIED = f'{OF_PROFILE}, harmost_decision_effect="deny"'
THROTTLED = f'{OF_PROVIDER}, harmost_attempt_outcome="throttled"'
UNFINISHED = f'{OF_PROVIDER}, harmost_attempt_outcome!~"completed|cancelled"'
# The name in v1.41 of the conventions, and the latest.
FIRST_CHUNK = (
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "gen_ai_client_inference_time_to_first_chunk_seconds",
)
DURATION = ("gen_ai_client_operation_duration_seconds", "gen_ai_client_inference_duration_seconds")
ANSWERABLE = 'harmost_status=~"completed|failed|interrupted"'
FAILED = 'harmost_status=~"failed|interrupted"'


def share(part: str, whole: str) -> str:
    """`part` of `whole`; 0 where there is no part, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def or_none(expression: str) -> str:
    """`expression`, 0 where nothing of the kind ever happened."""
    return f"{expression} or vector(0)"
