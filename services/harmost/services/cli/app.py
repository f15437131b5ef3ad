"""Puts the commands together and turns failures into exit codes."""

import sys

import typer

from harmost.services.cli import (
    budget,
    catalog,
    chat,
    embed,
    keys,
    policy,
    records,
    resources,
    serve,
    top,
    trace,
    up,
    usage,
)
from harmost.services.cli.audit import command as audit
from harmost.services.cli.models import command as models
from harmost.services.cli.money import chargeback, prices, verify
from harmost.services.cli.options import Json
from harmost.services.cli.replay import command as replay

__all__ = ["app", "run"]

app = typer.Typer(
    name="harmost",
    help="Keeps order among models: policy, budgets and records for every LLM call.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,  # failures are one line: see failure.py
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN, CALL, RULE, SEE = "Run", "Call", "Rule", "See"

app.command("up", rich_help_panel=RUN)(up.up)
app.command("router", rich_help_panel=RUN)(serve.router)
app.command("telemetry", rich_help_panel=RUN)(serve.telemetry)
app.command("sandbox", rich_help_panel=RUN)(serve.sandbox)

app.command("chat", rich_help_panel=CALL)(chat.chat)
app.command("embed", rich_help_panel=CALL)(embed.embed)
app.add_typer(models.app, name="models", rich_help_panel=CALL)
app.command("profiles", rich_help_panel=CALL)(catalog.profiles)
app.command("replay", rich_help_panel=CALL)(replay.replay)
app.add_typer(trace.app, name="trace", rich_help_panel=CALL)

app.command("apply", rich_help_panel=RULE)(resources.apply)
app.command("get", rich_help_panel=RULE)(resources.get)
app.command("delete", rich_help_panel=RULE)(resources.delete)
app.add_typer(policy.app, name="policy", rich_help_panel=RULE)
app.add_typer(keys.app, name="key", rich_help_panel=RULE)

app.command("usage", rich_help_panel=SEE)(usage.usage)
app.add_typer(budget.app, name="budget", rich_help_panel=SEE)
app.add_typer(verify.app, name="ledger", rich_help_panel=SEE)
app.add_typer(prices.app, name="prices", rich_help_panel=SEE)
app.add_typer(audit.app, name="audit", rich_help_panel=SEE)
app.command("chargeback", rich_help_panel=SEE)(chargeback.chargeback)
app.command("top", rich_help_panel=SEE)(top.top)
app.command("records", rich_help_panel=SEE)(records.records)
app.command("tail", rich_help_panel=SEE)(records.tail)


@app.command("version", rich_help_panel=SEE)
def version(as_json: Json = False) -> None:
    """Say which version this is."""
    from importlib.metadata import version as installed

    from harmost.services.cli.output import emit

    number = installed("harmost")
    emit({"version": number}) if as_json else print(f"harmost {number}")


def run() -> int:
    """Run the command in `sys.argv`; its exit code."""
    try:
        # typer ends by SystemExit, with 2 where the command line means nothing.
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except Exception as error:  # noqa: BLE001 -- the root of this process
        from harmost.services.cli.failure import report

        return report(error, as_json="--json" in sys.argv)
    return 0
