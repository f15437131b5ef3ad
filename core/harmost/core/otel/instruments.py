"""Every metric that Telemetry makes: its names, unit, labels and buckets. What is measured: meter.py.

Sources as in conventions.py. Labels are names of documents and words of ours: bounded by what an operator
writes, never by what a caller says. Prompts, end users, agents and tenants are in none; a `Budget` is.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from harmost.core.otel.conventions import DURATION_S_BOUNDS, TOKEN_BOUNDS, Conventions

__all__ = ["INSTRUMENTS", "Instrument", "instrument_names", "prometheus_name"]

Kind = Literal["counter", "histogram", "gauge"]

# What harmost adds is microseconds where all is well.
ADDED_S_BOUNDS = tuple(0.0001 * 2**power for power in range(16))
# An estimate is good within 0.17 for 95 of 100 texts.
ERROR_BOUNDS = (0.01, 0.02, 0.05, 0.08, 0.12, 0.17, 0.25, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0)
_SUFFIXES = {"s": "_seconds", "By": "_bytes", "USD": "_usd"}


class Instrument(NamedTuple):
    """A metric; "" where a generation of conventions has no such one. `labels` are keys of ATTRIBUTES."""

    v1_41: str
    latest: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    about: str
    bounds: tuple[float, ...] = ()


def _seconds(v1_41: str, latest: str, labels: tuple[str, ...], about: str) -> Instrument:
    """`latest` is "" where it is named as in v1.41."""
    return Instrument(v1_41, latest or v1_41, "histogram", "s", labels, about, DURATION_S_BOUNDS)


def _own(kind: Kind, name: str, unit: str, labels: str, about: str) -> Instrument:
    bounds = DURATION_S_BOUNDS if kind == "histogram" else ()
    return Instrument(name, name, kind, unit, tuple(labels.split()), about, bounds)


def _usage(name: str, about: str) -> Instrument:
    labels = (*_GEN_AI, "modality")
    return Instrument(
        "", f"gen_ai.client.inference.usage.{name}", "counter", "{token}", labels, about
    )


def _tokens(v1_41: str, latest: str, label: str, about: str) -> Instrument:
    return Instrument(v1_41, latest, "histogram", "{token}", (*_GEN_AI, label), about, TOKEN_BOUNDS)


_GEN_AI = ("operation", "provider", "request_model", "server_address", "server_port")
_SERVER = ("operation", "provider", "request_model")
_PROVIDER = "router attempt_provider request_model region"
_BUDGET = "budget budget_window budget_unit"
_SERVER_NAME, _CLIENT = "gen_ai.server", "gen_ai.client"
_OPERATION = f"{_CLIENT}.inference.operation"

INSTRUMENTS: Mapping[str, Instrument] = {
    # By the conventions: the front of the Router is a server, each attempt is a client.
    "server_duration": _seconds(
        f"{_SERVER_NAME}.request.duration", "", (*_SERVER, "error_type"), "calls, to their end"
    ),
    "server_first_token": _seconds(
        f"{_SERVER_NAME}.time_to_first_token", "", _SERVER, "calls, to their first token"
    ),
    "server_per_token": _seconds(
        f"{_SERVER_NAME}.time_per_output_token", "", _SERVER, "for each token after the first"
    ),
    "client_duration": _seconds(
        f"{_CLIENT}.operation.duration",
        f"{_CLIENT}.inference.duration",
        (*_GEN_AI, "error_type"),
        "attempts, to their end",
    ),
    "client_first_chunk": _seconds(
        f"{_CLIENT}.operation.time_to_first_chunk",
        f"{_CLIENT}.inference.time_to_first_chunk",
        _GEN_AI,
        "attempts, to their first token",
    ),
    "client_tokens": _tokens(f"{_CLIENT}.token.usage", "", "token_type", "tokens of an attempt"),
    "client_input": _tokens("", f"{_OPERATION}.input_tokens", "error_type", "input of an attempt"),
    "client_output": _tokens(
        "", f"{_OPERATION}.output_tokens", "error_type", "output of an attempt"
    ),
    "usage_input": _usage("input_tokens", "input tokens billed, cached included"),
    "usage_output": _usage("output_tokens", "output tokens billed, reasoning included"),
    "usage_cache_read": _usage("cache_read.input_tokens", "part of input: read from a cache"),
    "usage_cache_write": _usage("cache_write.input_tokens", "part of input: written to a cache"),
    "usage_reasoning": _usage("reasoning.output_tokens", "part of output: reasoning"),
    # Ours: calls and what was decided.
    "calls": _own(
        "counter", "harmost.calls", "{call}", "profile status reason", "calls that ended"
    ),
    "call_duration": _own(
        "histogram", "harmost.call.duration", "s", "profile status", "calls, to their end"
    ),
    "call_first_token": _own(
        "histogram", "harmost.call.first_token", "s", "profile", "calls, to their first token"
    ),
    "call_added": _own(
        "histogram", "harmost.call.added", "s", "profile", "what harmost added to the first token"
    )._replace(bounds=ADDED_S_BOUNDS),
    "decisions": _own(
        "counter", "harmost.decisions", "{decision}", "profile effect", "decisions of policy"
    ),
    "rules": _own(
        "counter", "harmost.rules", "{match}", "rule rule_effect mode", "rules that matched"
    ),
    "redactions": _own(
        "counter", "harmost.redactions", "{span}", "data_class", "pieces of text replaced"
    ),
    "attempts": _own(
        "counter",
        "harmost.attempts",
        "{attempt}",
        "attempt_model attempt_provider outcome",
        "attempts that ended",
    ),
    "hops": _own(
        "counter", "harmost.hops", "{hop}", "from_model to_model outcome", "moves to another model"
    ),
    "tokens": _own(
        "counter",
        "harmost.tokens",
        "{token}",
        "profile attempt_model token_class",
        "tokens billed, by class; `cached_input`, `cache_write_*` are parts of `input`, "
        "`reasoning` of `output`",
    ),
    "estimate_error": _own(
        "histogram",
        "harmost.token_estimate.error",
        "1",
        "profile attempt_model",
        "how far expected input was from what the provider counted, as a share of that",
    )._replace(bounds=ERROR_BOUNDS),
    "cost": _own(
        "counter", "harmost.cost", "USD", "profile attempt_model", "cost settled, in US dollars"
    ),
    # Ours: budgets, as the ledger tells them; dollars where the unit is `usd`.
    "budget_limit": _own("gauge", "harmost.budget.limit", "1", _BUDGET, "the ceiling"),
    "budget_settled": _own("gauge", "harmost.budget.settled", "1", _BUDGET, "used"),
    "budget_held": _own("gauge", "harmost.budget.held", "1", _BUDGET, "reserved by attempts"),
    "budget_leased": _own("gauge", "harmost.budget.leased", "1", _BUDGET, "lent to Routers"),
    "budget_suspense": _own("gauge", "harmost.budget.suspense", "1", _BUDGET, "not known yet"),
    "budget_debt": _own("gauge", "harmost.budget.debt", "1", _BUDGET, "billed above holds"),
    # Ours: Routers, as they tell themselves.
    "router_up": _own("gauge", "harmost.router.up", "1", "router", "1: it answers, 0: it does not"),
    "router_calls": _own("gauge", "harmost.router.calls", "{call}", "router", "calls in flight"),
    "router_journal": _own(
        "gauge", "harmost.router.journal.size", "By", "router", "journal on its disk"
    ),
    "router_owed": _own(
        "gauge", "harmost.router.settlements.owed", "{attempt}", "router", "ledger has yet to take"
    ),
    "router_held": _own("gauge", "harmost.router.held", "USD", "router", "held by its attempts"),
    "router_generation": _own(
        "gauge", "harmost.router.snapshot.generation", "1", "router", "policy that it decides by"
    ),
    # Ours: what providers told Routers of their rate limits.
    "provider_requests": _own(
        "gauge", "harmost.provider.requests.left", "{request}", _PROVIDER, "what it said is left"
    ),
    "provider_tokens": _own(
        "gauge", "harmost.provider.tokens.left", "{token}", _PROVIDER, "what it said is left"
    ),
    "provider_rest": _own(
        "gauge", "harmost.provider.rest", "s", _PROVIDER, "for so long other models come first"
    ),
    # Ours: Telemetry itself.
    "records": _own("counter", "harmost.records", "{record}", "router", "records that came"),
    "clock_ahead": _own(
        "gauge", "harmost.router.clock.ahead", "s", "router", "its clock, ahead of Telemetry's"
    ),
    "snapshot_age": _own("gauge", "harmost.snapshot.age", "s", "", "since Policy was last heard"),
    "snapshot_generation": _own(
        "gauge", "harmost.snapshot.generation", "1", "", "newest policy that is known"
    ),
    "export_backlog": _own(
        "gauge", "harmost.export.backlog", "{record}", "destination", "records yet to be exported"
    ),
    "export_records": _own(
        "counter", "harmost.export.records", "{record}", "destination", "records exported as spans"
    ),
    "export_sampled_out": _own(
        "counter", "harmost.export.sampled_out", "{record}", "destination", "left out by sampling"
    ),
    "export_dropped": _own(
        "counter", "harmost.export.dropped", "{record}", "destination", "given up: queue was full"
    ),
    "export_refused": _own(
        "counter", "harmost.export.refused", "{span}", "destination", "spans a collector refused"
    ),
    "export_failures": _own(
        "counter", "harmost.export.failures", "{request}", "destination", "requests that failed"
    ),
}


def instrument_names(key: str, conventions: Conventions) -> tuple[str, ...]:
    """What the metric `key` is called under `conventions`: one or two names, or none."""
    instrument = INSTRUMENTS[key]
    wanted = {
        "v1.41": (instrument.v1_41,),
        "latest": (instrument.latest,),
        "dup": (instrument.v1_41, instrument.latest),
    }[conventions]
    return tuple(dict.fromkeys(name for name in wanted if name))


def prometheus_name(name: str, instrument: Instrument) -> str:
    """`name` as Prometheus writes it, units and `_total` included."""
    suffix = _SUFFIXES.get(instrument.unit, "")
    total = "_total" if instrument.kind == "counter" else ""
    return name.replace(".", "_") + suffix + total
