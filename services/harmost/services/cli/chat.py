"""`harmost chat PROFILE TEXT`: one governed call, streamed to the terminal."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmost.core.errors import InvalidInput
from harmost.core.limits import INPUT_BYTES_MAX
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.client import ChatStream, Decision, Event, Finished

__all__ = ["chat"]


def chat(
    profile: Annotated[str, typer.Argument(help="Name of the mission profile.")],
    text: Annotated[list[str], typer.Argument(help="What to say; `-` reads standard input.")],
    system: Annotated[str, typer.Option(help="Instructions before the text.")] = "",
    tenant: Annotated[str, typer.Option(help="Tenant path that is charged.")] = "",
    output_tokens_max: Annotated[int, typer.Option(min=0, help="0: as the profile says.")] = 0,
    temperature_permille: Annotated[
        int,
        typer.Option(
            min=-1, max=2000, show_default=False, help="0 to 2000. -1: as the profile says."
        ),
    ] = -1,
    purpose: Annotated[str, typer.Option(help="Claim: what the data is used for.")] = "",
    subject_region: Annotated[str, typer.Option(help="Claim: region of the person.")] = "",
    agent: Annotated[str, typer.Option(help="The agent that calls.")] = "",
    end_user: Annotated[str, typer.Option(help="The person on whose behalf.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A fact for policy; again for more."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for the whole call.")] = 60.0,
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Ask a profile and stream the answer; then say what it cost and what policy said."""
    from harmost.client import Claims, Client, Message, Options
    from harmost.services.cli.target import Target
    from harmost.services.operate.session import reaching

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", _text(text)))
    said = Options(
        tenant=tenant,
        output_tokens_max=output_tokens_max,
        agent_id=agent,
        end_user_id=end_user,
        labels=_labels(label or []),
        timeout_s=timeout,
    )
    if temperature_permille >= 0:
        said["temperature_permille"] = temperature_permille
    if purpose or subject_region:
        said["claims"] = Claims(purpose=purpose, subject_region=subject_region)
    where = target.endpoint("router")
    with reaching(where), Client(where, target.api_key(), target.tls()) as client:
        _play(client.stream(profile, messages, **said), as_json=as_json)


def _play(stream: "ChatStream", *, as_json: bool) -> None:
    from harmost.services.cli.output import line

    screen = Screen()
    with stream:
        try:
            for event in stream:
                line({"event": type(event).__name__, **asdict(event)}) if as_json else screen.show(
                    event
                )
        finally:
            screen.end_line()


class Screen:
    """The answer on stdout as it comes; what was done to make it, dim, on stderr."""

    def __init__(self) -> None:
        self._column = 0
        self._terminal = sys.stdout.isatty()

    def show(self, event: "Event") -> None:
        """Show one event."""
        from harmost import client
        from harmost.services.cli.output import note

        match event:
            case client.Delta():
                self._write(event.text)
            case client.StepStarted() if event.step_index > 0 or event.step != "answer":
                self.end_line()
                note(f"step {event.step} on {event.model}")
            case client.StepFinished() if event.skipped:
                self.end_line()
                note(f"step {event.step} left out: its `when` was false")
            case client.Hop():
                self.end_line()
                note(f"{event.from_model} {event.cause}: on to {event.to_model}")
            case client.Finished():
                self.end_line()
                for warning in event.warnings:
                    note(f"warning: {warning}")
                note(summary(event))
            case _:
                pass

    def end_line(self) -> None:
        """Begin a new line unless one has just begun."""
        if self._column:
            self._write("\n")

    def _write(self, text: str) -> None:
        from harmost.services.cli.output import safe

        if not text:
            return
        sys.stdout.write(safe(text) if self._terminal else text)
        sys.stdout.flush()
        self._column = 0 if text.endswith("\n") else 1


def summary(finished: "Finished") -> str:
    """Model, cost, tokens, decision and added latency in one line."""
    from harmost.services.cli.output import usd

    used = finished.usage
    cost = "price unknown" if finished.price_unknown else usd(finished.cost_usd_nanos)
    estimated = " (estimated)" if used.source == "estimated" else ""
    ended = "" if finished.finish_reason == "stop" else f", ended by {finished.finish_reason}"
    parts = [
        f"{finished.model or 'no model'}{ended}",
        cost,
        f"{used.input_tokens} in + {used.output_tokens} out tokens{estimated}",
        _decided(finished.decision),
        f"+{finished.added_ns / 1e6:.2f} ms",
        f"record {finished.record_id}",
    ]
    return " · ".join(parts)


def _decided(decision: "Decision") -> str:
    found: list[str] = []
    if decision.rules:
        found.append("rules " + ", ".join(f"{hit.policy}/{hit.rule}" for hit in decision.rules))
    if decision.redactions:
        found.append(
            "redacted " + ", ".join(f"{r.spans} {r.data_class}" for r in decision.redactions)
        )
    if decision.exclusions:
        found.append(
            "excluded "
            + ", ".join(f"{out.model} by {out.rule.rule}" for out in decision.exclusions)
        )
    effect = "denied" if decision.effect == "deny" else "allowed"
    return f"{effect}: {'; '.join(found)}" if found else effect


def _text(words: list[str]) -> str:
    if words != ["-"]:
        return " ".join(words)
    found = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    if len(found) > INPUT_BYTES_MAX:
        raise InvalidInput(f"standard input is more than {INPUT_BYTES_MAX} bytes: send less")
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"standard input is not UTF-8: {error.reason}") from error


def _labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"label `{pair}` is not NAME=VALUE")
        labels[name] = value
    return labels
