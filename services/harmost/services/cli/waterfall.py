"""One record as spans on one scale of time, and as the lines that `harmost trace` prints. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from harmost.services.cli.money.draw import escaped
from harmost.services.cli.output import usd
from harmost.services.cli.plain import enum_name

__all__ = ["Span", "heading", "spans_of", "told", "waterfall"]

BAR_CELLS_MIN, BAR_CELLS_MAX = 20, 60
NAME_CELLS_MAX = 40
GOOD = ("completed", "budget_cut")


class Span(NamedTuple):
    """A part of the call: when it began after the admission, and for how long, in nanoseconds.

    `waits_ns` of it came before the first token. `kind`: "harmost" or "attempt".
    """

    name: str
    kind: str
    offset_ns: int
    duration_ns: int
    waits_ns: int = 0
    failed: bool = False
    note: str = ""


def spans_of(record: Any) -> list[Span]:
    """The spans of `record`, in order: every nanosecond until its end belongs to one.

    Attempts tell when they were sent by a clock that people set: what lies outside the call is moved
    into it.
    """
    total_ns = max(record.total_ns, 0)
    began_ns = record.started_at.ToNanoseconds()
    spans: list[Span] = []
    at_ns = 0
    answered = next((n for n, each in enumerate(record.attempts) if each.first_token_ns), -1)
    for number, attempt in enumerate(record.attempts):
        sent_ns = attempt.started_at.ToNanoseconds() - began_ns
        if number == answered:  # two durations of one clock tell it better
            sent_ns = record.first_token_ns - attempt.first_token_ns
        start_ns = min(max(sent_ns, at_ns), total_ns)
        spans += _between(record, number, at_ns, start_ns)
        at_ns = min(start_ns + max(attempt.total_ns, 0), total_ns)
        spans.append(_attempt(attempt, start_ns, at_ns - start_ns))
    last = "settled, recorded" if record.attempts else _decided(record)
    spans.append(Span(last, "harmost", at_ns, total_ns - at_ns))
    return spans


def heading(record: Any) -> Iterator[str]:
    """Which call it is and how it ended."""
    status = _enum(record, "status").replace("_", " ")
    colour = "green" if status == "completed" else "red"
    reason = f" ({record.reason})" if record.reason else ""
    yield f"[bold]{escaped(record.record_id)}[/]  [{colour}]{escaped(status + reason)}[/]"
    began = record.started_at.ToDatetime().isoformat(sep=" ", timespec="milliseconds")
    agent = f", agent {record.agent_id}" if record.agent_id else ""
    yield (
        f"{began} UTC  {escaped(record.profile)}, for {escaped(record.tenant)} by "
        f"{escaped(record.principal + agent)}"
    )


def waterfall(record: Any, *, width: int) -> Iterator[str]:
    """A line for each span: its name, where it lies in the call, for how long."""
    spans = spans_of(record)
    names = min(max(len(span.name) for span in spans), NAME_CELLS_MAX)
    cells = min(max(width - names - 44, BAR_CELLS_MIN), BAR_CELLS_MAX)
    whole_ns = max(record.total_ns, 1)
    for span in spans:
        name = span.name if len(span.name) <= names else f"{span.name[: names - 1]}…"
        yield (
            f"{escaped(name):{names}} ▕{_drawn(span, whole_ns, cells)}▏ "
            f"{_ms(span.offset_ns):>12} {_ms(span.duration_ns):>12}  {escaped(span.note)}"
        ).rstrip()
    first = record.first_token_ns
    if first:
        at = min(first * cells // whole_ns, cells - 1)
        yield f"{'first token':{names}}  {' ' * at}▲{' ' * (cells - at)}{_ms(first):>12}"
    yield f"{'end':{names}}  {' ' * cells} {_ms(record.total_ns):>12}"


def told(record: Any) -> Iterator[str]:
    """What was decided, used and paid, as lines of a word and its value."""
    decision = record.decision
    if record.HasField("decision"):
        allowed = "denied" if decision.HasField("denied_by") else "allowed"
        yield f"[bold]decision[/]   {allowed}, generation {decision.snapshot_generation}"
    for hit in decision.rules:
        mode = _enum(hit, "mode")
        cited = f"  ({', '.join(hit.citations)})" if hit.citations else ""
        yield (
            f"[bold]rule[/]       {escaped(f'{hit.policy}/{hit.rule}')}: {_enum(hit, 'effect')}"
            f"{'' if mode in ('', 'enforce') else f', {mode}'}{escaped(cited)}"
        )
        if hit.message or hit.error:
            yield f"           [dim]{escaped(hit.message or hit.error)}[/]"
    for exclusion in decision.exclusions:
        rule = f"{exclusion.rule.policy}/{exclusion.rule.rule}"
        yield f"[bold]without[/]    {escaped(exclusion.model)}: {escaped(rule)}"
    for redaction in decision.redactions:
        yield f"[bold]redacted[/]   {redaction.spans} {escaped(redaction.data_class)}"
    usage = record.usage
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    reasoned = f" ({usage.reasoning_output_tokens:,} reasoning)" * bool(
        usage.reasoning_output_tokens
    )
    yield (
        f"[bold]used[/]       {usage.input_tokens:,} tokens in{cached}, "
        f"{usage.output_tokens:,} out{reasoned}, {usd(record.cost_usd_nanos)}"
    )
    for name, value in sorted(record.labels.items()):
        yield f"[bold]label[/]      {escaped(name)}={escaped(value)}"
    for outcome in record.outcomes:
        yield f"[bold]outcome[/]    {escaped(outcome.name)}: {outcome.score_permille / 10:g} %"
    yield f"[bold]added[/]      {_ms(record.added_ns)} by harmost until the first token, on {escaped(record.router_id)}"


def _between(record: Any, number: int, from_ns: int, to_ns: int) -> list[Span]:
    """What harmost did before the attempt of that number was sent."""
    if number:
        again = record.attempts[number].step_index != record.attempts[number - 1].step_index
        name = "next step decided, held" if again else "next candidate held"
        return [Span(name, "harmost", from_ns, to_ns - from_ns)]
    decided_ns = min(record.decided_ns, to_ns)
    if not decided_ns:  # a Router of before does not tell
        return [Span("admitted, decided, held", "harmost", 0, to_ns)]
    return [
        Span(_decided(record), "harmost", 0, decided_ns),
        Span("chosen, held", "harmost", decided_ns, to_ns - decided_ns),
    ]


def _decided(record: Any) -> str:
    denied = record.decision.HasField("denied_by")
    return "admitted, decided: denied" if denied else "admitted, decided"


def _attempt(attempt: Any, offset_ns: int, duration_ns: int) -> Span:
    outcome = _enum(attempt, "outcome")
    usage = attempt.usage
    what = f"{usage.output_tokens:,} out, {usd(attempt.cost_usd_nanos)}"
    if outcome not in GOOD:
        why = f"{outcome.replace('_', ' ')}: {attempt.error}" if attempt.error else outcome
        what = f"{why} ({what})" if attempt.cost_usd_nanos else why
    first_ns = attempt.first_token_ns
    return Span(
        f"{attempt.model} at {attempt.provider}",
        "attempt",
        offset_ns,
        duration_ns,
        waits_ns=min(first_ns or duration_ns, duration_ns),
        failed=outcome not in GOOD,
        note=what,
    )


def _drawn(span: Span, whole_ns: int, cells: int) -> str:
    """The span's bar: what lasts less than a cell has one all the same."""
    start = min(span.offset_ns * cells // whole_ns, cells - 1)
    end = max(-(-(span.offset_ns + span.duration_ns) * cells // whole_ns), start + 1)
    end = min(end, cells)
    rest = " " * (cells - end)
    if span.kind == "harmost":
        return f"{' ' * start}[blue]{'█' * (end - start)}[/]{rest}"
    waits = min(-(-span.waits_ns * cells // whole_ns), end - start)
    colour = "red" if span.failed else "green"
    return f"{' ' * start}[{colour}]{'░' * waits}{'█' * (end - start - waits)}[/]{rest}"


def _ms(nanos: int) -> str:
    return f"{nanos / 1e6:,.2f} ms"


def _enum(message: Any, field: str) -> str:
    found = message.DESCRIPTOR.fields_by_name[field]
    return enum_name(found, getattr(message, field))
