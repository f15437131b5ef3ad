"""`harmost policy replay`: which recorded decisions would be others with these documents, for whom."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.core.errors import InvalidInput
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.policy.v1 import policy_pb2

__all__ = ["replay"]

GROUPS_SHOWN = 10
WORDS = {
    "allow_to_deny": "allow → deny",
    "deny_to_allow": "deny → allow",
    "candidates": "other candidates",
    "redactions": "other redactions",
    "caps": "other caps",
}


def replay(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            help="Documents to try: a YAML file, a directory, or `-`. Default: none.",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(help="Only calls from then on: 24h, or 2026-01-31T12:00:00Z.")
    ] = "",
    until: Annotated[str, typer.Option(help="Only calls before then.")] = "",
    tenant: Annotated[str, typer.Option(help="Only at or below this tenant path.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show so many flips.")] = 20,
    max_flips: Annotated[
        int | None,
        typer.Option(min=0, help="End with 1 if more decisions change.", show_default=False),
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Decide recorded calls again with other documents; nothing is published.

    Without `-f` the running documents are tried: what changed since the calls were made. With
    `--json` each flip is a line, the last line is the summary.
    """
    from harmost.services.cli.output import line
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    request = _request(file or [], since, until, tenant, limit)
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    flips: list[policy_pb2.ReplayResponse] = []
    summary: policy_pb2.ReplaySummary | None = None
    with target.session("policy") as session:
        for answer in _with_progress(session.stream("Replay", request), hidden=as_json):
            if answer.HasField("summary"):
                summary = answer.summary
            elif answer.record_id:
                line(plain(answer)) if as_json else flips.append(answer)
    if summary is None:
        raise InvalidInput("the replay ended without its summary: try again")
    if as_json:
        line({"summary": plain(summary)})
    else:
        _show(summary, flips)
    if max_flips is not None and summary.flips > max_flips:
        raise typer.Exit(1)


def _request(
    file: list[Path], since: str, until: str, tenant: str, limit: int
) -> "policy_pb2.ReplayRequest":
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.moments import moment
    from harmost.services.cli.resources import sources_of

    now = datetime.now(UTC)
    request = policy_pb2.ReplayRequest(
        sources=sources_of(file) if file else [], tenant=tenant, flips_max=limit
    )
    if since:
        request.start.FromDatetime(moment(since, now=now))
    if until:
        request.end.FromDatetime(moment(until, now=now))
    return request


def _with_progress(answers: Iterable[Any], *, hidden: bool) -> Iterator[Any]:
    """`answers`, counted on a terminal's stderr while they come."""
    from harmost.services.cli.output import console

    error = console(stderr=True)
    if hidden or not error.is_terminal:
        yield from answers
        return
    with error.status("reading records") as status:
        for answer in answers:
            if answer.replayed:
                status.update(f"{answer.replayed:,} decisions made again")
            yield answer


def _show(summary: Any, flips: list[Any]) -> None:
    from harmost.services.cli.output import note, safe, table
    from harmost.services.cli.plain import enum_name

    print(f"{summary.decisions:,} decisions made again: {summary.flips:,} would be others")
    for count in summary.counts:
        name = enum_name(count.DESCRIPTOR.fields_by_name["change"], count.change)
        print(f"  {count.flips:>9,}  {WORDS.get(name, name)}")
    if summary.groups:
        table(
            ("tenant", "profile", "allow → deny", "deny → allow", "others", "of"),
            (
                (
                    group.tenant,
                    group.profile,
                    f"{group.allow_to_deny:,}",
                    f"{group.deny_to_allow:,}",
                    f"{group.flips:,}",
                    f"{group.decisions:,}",
                )
                for group in summary.groups[:GROUPS_SHOWN]
            ),
            right=4,
        )
    if flips:
        table(
            ("record", "called", "tenant", "profile", "before", "after", "rule"),
            (_cells(flip) for flip in flips),
        )
    if summary.skipped:
        note(
            f"{summary.skipped:,} left out: this version cannot read them, or their models are gone"
        )
    for fact in summary.facts_not_recorded:
        note(f"rules ask `{safe(fact)}`, which is not recorded: they were decided without it")
    if summary.truncated:
        note("there are more: the older ones were left out; narrow with `--since` and `--until`")


def _cells(flip: Any) -> tuple[str, ...]:
    denied_by = flip.after.denied_by if flip.after.HasField("denied_by") else flip.before.denied_by
    rule = f"{denied_by.policy}/{denied_by.rule}" if denied_by.policy else ""
    return (
        flip.record_id,
        flip.started_at.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        flip.tenant,
        flip.profile,
        _told(flip.before),
        _told(flip.after),
        rule,
    )


def _told(decision: Any) -> str:
    """A decision in a few words."""
    if decision.HasField("denied_by"):
        return "deny"
    words = [", ".join(decision.candidates)]
    words += [f"redact {each.data_class}" for each in decision.redactions]
    if decision.output_tokens_max:
        words.append(f"at most {decision.output_tokens_max:,} tokens")
    if decision.usd_nanos_per_1k_tokens_max:
        words.append(f"at most ${decision.usd_nanos_per_1k_tokens_max / 1e9:.4f} per 1k")
    return "; ".join(words)
