"""`harmost policy lint`: what is doubtful about policies that work, each with facts that show it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options, policy_files
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.target import Target

__all__ = ["lint"]

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def lint(
    file: policy_files.OptionalFiles = None,
    running: policy_files.Running = False,
    expires_within: Annotated[
        str,
        typer.Option(help="Tell of exceptions that end within this time, such as 14d."),
    ] = "14d",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Look for rules that never match, change nothing or contradict each other. Fails if it finds
    more than notes."""
    from harmost.services.cli.moments import seconds
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    if not file and not running:
        raise typer.BadParameter("say where the documents are, or --running", param_hint="--file")
    within_s = seconds(expires_within)
    if running:
        target = Target(address=address, key=key, key_file=key_file, data_dir=data)
        answer = _asked(target, file or [], within_s)
    else:
        answer = _run_here(file or [], within_s)
    if as_json:
        emit(plain(answer))
    else:
        _show(answer)
    if any(_severity(finding) != "note" for finding in answer.findings):
        raise typer.Exit(1)


def _run_here(paths: list[Any], within_s: int) -> "policy_pb2.LintResponse":
    import time

    from harmost.core.policy.authoring.lint import lint as find
    from harmost.core.policy.rules import PoliciesRefused
    from harmost.core.resources.kinds import PolicySpec
    from harmost.core.resources.snapshot import refused_at
    from harmost.services.cli.output import progress
    from harmost.services.convert.authoring import lint_to_proto

    policies = {
        parsed.document.metadata.name: parsed
        for parsed in policy_files.documents_at(paths)
        if parsed.document.kind == "Policy"
    }
    specs = [
        (parsed.document.metadata, parsed.document.spec)
        for parsed in policies.values()
        if isinstance(parsed.document.spec, PolicySpec)
    ]
    try:
        with progress("rules") as told:
            report = find(specs, now_s=int(time.time()), expires_within_s=within_s, progress=told)
    except PoliciesRefused as refused:
        raise refused_at(refused, policies) from None
    return lint_to_proto(report, policies)


def _asked(target: "Target", paths: list[Any], within_s: int) -> "policy_pb2.LintResponse":
    from google.protobuf.duration_pb2 import Duration

    from harmost.policy.v1 import policy_pb2

    sources = policy_files.sources_at(paths) if paths else []
    request = policy_pb2.LintRequest(
        sources=[policy_pb2.Source(name=one.name, yaml=one.content) for one in sources],
        expires_within=Duration(seconds=within_s),
    )
    with target.session("policy") as session:
        answer: policy_pb2.LintResponse = session.call("Lint", request)
    return answer


def _show(answer: "policy_pb2.LintResponse") -> None:
    from rich.markup import escape

    from harmost.services.cli.output import console, note, safe
    from harmost.services.cli.policy_facts import said

    out = console()
    for found in answer.findings:
        severity = _severity(found)
        colour = COLOURS[severity]
        name = f"{found.policy}/{found.rule}"
        out.print(
            f"{escape(safe(found.place))}: [{colour}]{severity}[/{colour}] [bold]{found.kind}[/bold] "
            f"{escape(safe(name))}: {escape(safe(found.message))}",
            soft_wrap=True,
        )
        facts = {**dict(found.request), **dict(found.candidate)}
        if facts:
            out.print(f"    [dim]seen with {escape(safe(said(facts)))}[/dim]", soft_wrap=True)
    for open_ in answer.undecided:
        note(f"undecided: {open_.kind} of {open_.policy}/{open_.rule}: {open_.why}")
    counts = {
        severity: sum(1 for found in answer.findings if _severity(found) == severity)
        for severity in COLOURS
    }
    told = ", ".join(f"{word}s {count}" for word, count in counts.items())
    note(f"rules {answer.rules}: {told}, undecided questions {len(answer.undecided)}")


def _severity(finding: "policy_pb2.Finding") -> str:
    from harmost.policy.v1 import policy_pb2

    return policy_pb2.Severity.Name(finding.severity).removeprefix("SEVERITY_").lower()
