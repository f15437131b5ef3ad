"""`harmost policy explain`: why a decision is what it is, and what would change it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.services.cli import options, policy_files
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.target import Target

__all__ = ["explain"]


def explain(
    profile: Annotated[
        str,
        typer.Argument(help="Mission profile, for its models; empty: none.", show_default=False),
    ] = "",
    fact: Annotated[
        list[str] | None,
        typer.Option("--fact", metavar="NAME=VALUE", help="A fact, as in subject.region=EEA."),
    ] = None,
    facts: Annotated[
        Path | None, typer.Option("--facts", metavar="FILE", help="A YAML file of facts.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A candidate, instead of the profile's; again for more."),
    ] = None,
    record: Annotated[
        str,
        typer.Option(
            "--record", metavar="ID", help="What this record was decided on.", show_default=False
        ),
    ] = "",
    file: policy_files.OptionalFiles = None,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Say which rules match given facts, what kept the others from it, and what would turn them.

    With --file of those documents, else of the ones that run.
    """
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.policy_facts import facts_from
    from harmost.services.cli.target import Target

    if record and (file or profile or fact or facts or model):
        raise typer.BadParameter("brings its own facts and models", param_hint="--record")
    given = facts_from(fact or [], facts)
    if file:
        answer = _run_here(file, profile, given, model or [])
    else:
        target = Target(address=address, key=key, key_file=key_file, data_dir=data)
        answer = (
            _recorded(target, record) if record else _asked(target, profile, given, model or [])
        )
    if as_json:
        emit(plain(answer))
    else:
        _show(answer)


def _run_here(
    paths: list[Path], profile: str, given: dict[str, Any], models: list[str]
) -> "policy_pb2.ExplainResponse":
    import time

    from harmost.core.policy.authoring.explain import Explainer
    from harmost.core.resources.question import question
    from harmost.core.resources.snapshot import compile_snapshot
    from harmost.services.convert.authoring import explanation_to_proto

    snapshot = compile_snapshot(1, policy_files.documents_at(paths))
    now_s = int(time.time())
    asked = question(
        snapshot,
        tenant=str(given.get("request.tenant", "")),
        principal="",
        profile=profile,
        given=given,
        models=models,
        now_s=now_s,
    )
    policies = [(one.metadata, one.spec) for one in snapshot.catalog.policies.values()]
    explainer = Explainer(policies, snapshot.engine)
    return explanation_to_proto(explainer.explain(asked.request, asked.candidates, now_s=now_s))


def _asked(
    target: "Target", profile: str, given: dict[str, Any], models: list[str]
) -> "policy_pb2.ExplainResponse":
    from google.protobuf import json_format

    from harmost.common.v1 import decision_pb2
    from harmost.core.errors import InvalidInput
    from harmost.policy.v1 import policy_pb2

    facts = decision_pb2.Facts(models=models)
    try:
        json_format.ParseDict({"request": given}, facts)
    except json_format.ParseError as error:
        raise InvalidInput(f"facts cannot be sent: {error}: correct them") from None
    request = policy_pb2.ExplainRequest(profile=profile, facts=facts)
    with target.session("policy") as session:
        answer: policy_pb2.ExplainResponse = session.call("Explain", request)
    return answer


def _recorded(target: "Target", record_id: str) -> "policy_pb2.ExplainResponse":
    from harmost.policy.v1 import policy_pb2
    from harmost.telemetry.v1 import telemetry_pb2

    wanted = telemetry_pb2.GetRecordRequest(record_id=record_id)
    with target.session("telemetry") as session:
        record: telemetry_pb2.Record = session.call("GetRecord", wanted).record
    request = policy_pb2.ExplainRequest(record_id=record_id, record_started_at=record.started_at)
    with target.session("policy") as session:
        answer: policy_pb2.ExplainResponse = session.call("Explain", request)
    return answer


def _show(answer: "policy_pb2.ExplainResponse") -> None:
    from rich.markup import escape

    from harmost.services.cli.output import console, safe

    out = console()
    for text in [*_decision(answer.decision), *_turns(answer.flips, "it would be otherwise with")]:
        out.print(text, soft_wrap=True)
    for rule in answer.rules:
        mark = "[bold]●[/bold]" if rule.matched else "[dim]○[/dim]"
        name = escape(safe(f"{rule.rule.policy}/{rule.rule.rule}"))
        out.print(f"{mark} {name} [dim]{_effect(rule.rule)}[/dim]", soft_wrap=True)
        for atom in rule.atoms:
            out.print(f"    {escape(safe(_atom(atom)))}", soft_wrap=True)
        unmet = rule.matched and rule.require
        turned = "it would be met with" if unmet else "it would match with"
        turned = "it would not match with" if rule.matched and not unmet else turned
        for text in _turns(rule.flips, turned):
            out.print(f"    {text}", soft_wrap=True)


def _decision(decision: Any) -> list[str]:
    from rich.markup import escape

    from harmost.common.v1 import decision_pb2
    from harmost.services.cli.output import safe, usd

    lines: list[str] = []
    if decision.effect == decision_pb2.EFFECT_DENY:
        hit = decision.denied_by
        why = f": {hit.message}" if hit.message else ""
        cites = f" ({', '.join(hit.citations)})" if hit.citations else ""
        name = escape(safe(f"{hit.policy}/{hit.rule}{cites}{why}"))
        lines.append(f"[red]denied[/red] by {name}")
    else:
        left = f": {', '.join(decision.candidates)}" if decision.candidates else ""
        lines.append(f"[green]allowed[/green]{escape(safe(left))}")
    for out in decision.exclusions:
        by = f"{out.rule.policy}/{out.rule.rule}"
        lines.append(f"  {escape(safe(out.model))} is taken out by {escape(safe(by))}")
    for each in decision.redactions:
        how = getattr(each, "with")
        lines.append(f"  {escape(safe(each.data_class))} is replaced ({escape(safe(how))})")
    if decision.output_tokens_max:
        lines.append(f"  output is capped at {decision.output_tokens_max:,} tokens")
    if decision.usd_nanos_per_1k_tokens_max:
        cap = usd(decision.usd_nanos_per_1k_tokens_max)
        lines.append(f"  price is capped at {cap} for 1,000 tokens")
    return lines


def _effect(hit: Any) -> str:
    from harmost.common.v1 import decision_pb2

    effect = decision_pb2.Effect.Name(hit.effect).removeprefix("EFFECT_").lower()
    mode = decision_pb2.Mode.Name(hit.mode).removeprefix("MODE_").lower()
    until = f", until {hit.expires_at.ToJsonString()}" if hit.HasField("expires_at") else ""
    return effect + (f", {mode} only" if mode in ("warn", "shadow") else "") + until


def _atom(atom: Any) -> str:
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.policy_facts import said

    gave = policy_pb2.Truth.Name(atom.gave).removeprefix("TRUTH_").lower()
    what = f"cannot be evaluated ({atom.error})" if gave == "error" else f"is {gave}"
    model = f" for {atom.model}" if atom.model else ""
    facts = f": {said(dict(atom.facts))}" if atom.facts else ""
    return f"`{atom.text}` {what}{model}{facts}"


def _turns(changes: Any, lead: str) -> list[str]:
    from rich.markup import escape

    from harmost.services.cli.output import safe
    from harmost.services.cli.policy_facts import value_said

    return [
        f"[cyan]→[/cyan] {lead} "
        + escape(
            safe(
                f"{change.fact} = {value_said(change.would_be)}"
                + (f" of {change.model}" if change.model else "")
            )
        )
        for change in changes
    ]
