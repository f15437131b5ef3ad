"""`harmost policy test`: tables of facts and what is to be decided on them, run and covered."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmost.services.cli import options, policy_files
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.target import Target

__all__ = ["run_tests"]

UNCOVERED_MAX = 50  # lines that are told


def run_tests(
    file: policy_files.Files,
    running: policy_files.Running = False,
    over: Annotated[
        list[Path] | None,
        typer.Option(
            "--over",
            help="With --running: documents to put over those that run; nothing is published.",
            show_default=False,
        ),
    ] = None,
    coverage_min: Annotated[
        float,
        typer.Option(
            "--coverage-min",
            min=0,
            max=100,
            help="Fail where fewer percent of rules, or of parts of conditions, are covered.",
        ),
    ] = 0,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.", show_default=False),
    ] = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Run tests of policies: `*.test.yaml` beside the documents. Fails if one does."""
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    if running:
        target = Target(address=address, key=key, key_file=key_file, data_dir=data)
        answer = _asked(target, file, over or [])
    elif over:
        raise typer.BadParameter("goes with --running", param_hint="--over")
    else:
        answer = _run_here(file)
    if junit is not None:
        junit.write_bytes(_junit(answer))
    failed = sum(1 for result in answer.results if result.problems)
    if as_json:
        emit(
            plain(answer)
            | {
                "failed": failed,
                "rule_coverage_permille": _permille(*_rules(answer)),
                "atom_coverage_permille": _permille(*_atoms(answer)),
            }
        )
    else:
        _show(answer, failed)
    low = min(_permille(*_rules(answer)), _permille(*_atoms(answer))) < coverage_min * 10
    if low and not as_json:
        from harmost.services.cli.output import note

        note(f"coverage is below {coverage_min:g} %: test what is listed above")
    if failed or low:
        raise typer.Exit(1)


def _run_here(paths: list[Path]) -> "policy_pb2.TestResponse":
    import time

    from harmost.core.policy.authoring.cases import parse_cases
    from harmost.core.policy.authoring.trial import try_cases
    from harmost.core.resources.snapshot import compile_snapshot
    from harmost.services.cli.output import progress
    from harmost.services.convert.authoring import trial_to_proto

    cases = parse_cases(policy_files.tests_at(paths))
    snapshot = compile_snapshot(1, policy_files.documents_at(paths))
    with progress("tests") as told:
        trial = try_cases(snapshot, cases, now_s=int(time.time()), progress=told)
    return trial_to_proto(trial, shown=lambda _: True)


def _asked(target: "Target", tests: list[Path], over: list[Path]) -> "policy_pb2.TestResponse":
    from harmost.policy.v1 import policy_pb2

    request = policy_pb2.TestRequest(
        tests=[
            policy_pb2.Source(name=source.name, yaml=source.content)
            for source in policy_files.tests_at(tests)
        ],
        sources=[
            policy_pb2.Source(name=source.name, yaml=source.content)
            for source in (policy_files.sources_at(over) if over else ())
        ],
    )
    with target.session("policy") as session:
        answer: policy_pb2.TestResponse = session.call("Test", request)
    return answer


def _show(answer: "policy_pb2.TestResponse", failed: int) -> None:
    from harmost.services.cli.output import console, safe

    out = console()
    for result in answer.results:
        mark = "[red]✗[/red]" if result.problems else "[green]✓[/green]"
        out.print(mark, _escaped(safe(result.name)), f"[dim]{_escaped(safe(result.place))}[/dim]")
        for problem in result.problems:
            out.print(f"    {_escaped(safe(problem))}")
    uncovered = _uncovered(answer)
    for text in uncovered[:UNCOVERED_MAX]:
        out.print(f"[yellow]-[/yellow] {_escaped(safe(text))}")
    if len(uncovered) > UNCOVERED_MAX:
        out.print(f"[yellow]-[/yellow] and {len(uncovered) - UNCOVERED_MAX} more")
    rules, atoms = _rules(answer), _atoms(answer)
    colour = "red" if failed else "green"
    out.print(
        f"[{colour}]{len(answer.results)} tests, {failed} failed[/{colour}]; covered: "
        f"{rules[0]} of {rules[1]} rules ({_permille(*rules) / 10:.1f} %), "
        f"{atoms[0]} of {atoms[1]} parts of conditions ({_permille(*atoms) / 10:.1f} %)"
    )


def _uncovered(answer: "policy_pb2.TestResponse") -> list[str]:
    """One line for each rule that never matched, and each part not seen both ways."""
    lines: list[str] = []
    for rule in answer.coverage:
        name = f"{rule.policy}/{rule.rule}"
        if not rule.matched:
            lines.append(f"{name} matched in no test")
        for atom in rule.atoms:
            unseen = [w for w, s in (("true", atom.seen_true), ("false", atom.seen_false)) if not s]
            if unseen:
                lines.append(f"{name}: `{atom.text}` was never {' or '.join(unseen)}")
    return lines


def _rules(answer: "policy_pb2.TestResponse") -> tuple[int, int]:
    return sum(1 for rule in answer.coverage if rule.matched), len(answer.coverage)


def _atoms(answer: "policy_pb2.TestResponse") -> tuple[int, int]:
    atoms = [atom for rule in answer.coverage for atom in rule.atoms]
    return sum(1 for atom in atoms if atom.seen_true and atom.seen_false), len(atoms)


def _permille(part: int, whole: int) -> int:
    return part * 1000 // whole if whole else 1000


def _junit(answer: "policy_pb2.TestResponse") -> bytes:
    from xml.etree import ElementTree as Xml

    from harmost.services.cli.output import safe

    failed = sum(1 for result in answer.results if result.problems)
    suite = Xml.Element(
        "testsuite",
        name="harmost policy test",
        tests=str(len(answer.results)),
        failures=str(failed),
    )
    for result in answer.results:
        file, line, _ = result.place.rsplit(":", 2)
        case = Xml.SubElement(
            suite, "testcase", name=safe(result.name), classname=file, file=file, line=line
        )
        if result.problems:
            failure = Xml.SubElement(case, "failure", message=safe(result.problems[0]))
            failure.text = safe("\n".join(result.problems))
    whole: bytes = Xml.tostring(suite, encoding="utf-8", xml_declaration=True)
    return whole


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
