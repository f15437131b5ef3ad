"""`harmost policy kill|restore|kills`: stop calls at once, running ones included."""

from typing import Annotated, Any

import typer

from harmost.core.errors import InvalidInput
from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

__all__ = ["kill", "kills", "restore"]

KINDS = ("organization", "tenant", "profile", "agent", "key", "principal", "mission")

Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.")]
Name = Annotated[
    str,
    typer.Argument(
        help="Tenant path, profile, agent id, key id, principal, or a mission's record id."
    ),
]
Tenant = Annotated[
    str,
    typer.Option(help="Only for calls charged at or below this path. Default: all that you may."),
]


def kill(
    kind: Kind,
    name: Name,
    tenant: Tenant = "",
    reason: Annotated[str, typer.Option(help="Why; told to whoever is stopped.")] = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Stop something at once, running streams included, until `restore`."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit, note
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    request = policy_pb2.RevokeRequest(
        kind=_kind(kind, name), name=name, tenant=tenant, reason=reason
    )
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    runs = _runs(target, name) if kind == "mission" and not address else None
    with target.session("policy") as session:
        answer = session.call("Revoke", request)
    if as_json:
        emit(plain(answer) | ({} if runs is None else {"runs": runs}))
    else:
        print(f"{kind} {name} is stopped{_for(answer.revocation)}")
    if runs is False:
        note(
            f"no Router runs a mission `{name}` now, so nothing was ended: `started` of a call tells "
            f"its record id; `harmost policy restore mission {name}` takes this back"
        )


def restore(
    kind: Kind,
    name: Name,
    tenant: Tenant = "",
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """Take a kill back: new calls may be made again."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit
    from harmost.services.cli.plain import plain
    from harmost.services.cli.target import Target

    request = policy_pb2.RestoreRequest(kind=_kind(kind, name), name=name, tenant=tenant)
    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        answer = session.call("Restore", request)
    if as_json:
        emit(plain(answer))
    else:
        print(f"{kind} {name} is restored")


def kills(
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List what is stopped."""
    from harmost.policy.v1 import policy_pb2
    from harmost.services.cli.output import emit, note, table
    from harmost.services.cli.plain import enum_name, plain
    from harmost.services.cli.target import Target

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with target.session("policy") as session:
        request = policy_pb2.ListRevocationsRequest(page_size=1_000)
        pages = session.pages("ListRevocations", request)
        found = [each for page in pages for each in page.revocations]
    if as_json:
        emit([plain(each) for each in found])
        return
    if not found:
        note("nothing is stopped")
        return
    table(
        ("kind", "name", "tenant", "since", "by", "why"),
        (
            (
                enum_name(each.DESCRIPTOR.fields_by_name["kind"], each.kind),
                each.name,
                each.tenant or "all",
                each.revoked_at.ToDatetime().isoformat(sep=" ", timespec="seconds"),
                each.author,
                each.reason,
            )
            for each in found
        ),
    )


def _kind(word: str, name: str) -> Any:
    from harmost.policy.v1 import policy_pb2

    if word not in KINDS:
        raise typer.BadParameter(f"`{word}` is no kind: use {', '.join(KINDS)}", param_hint="KIND")
    if word == "organization":
        if "/" in name:
            raise InvalidInput(
                f"`{name}` is below an organization: use `tenant`, or name `{name.split('/')[0]}`"
            )
        word = "tenant"
    return policy_pb2.RevocationKind.Value(f"REVOCATION_KIND_{word.upper()}")


def _runs(target: Any, record_id: str) -> bool | None:
    """Whether the mission runs now; None where that cannot be found out."""
    from harmost.core.errors import HarmostError
    from harmost.services.operate.workers import Workers

    try:
        with Workers(target.workers(), key=target.api_key(), tls_ca=target.tls_ca()) as workers:
            return workers.runs(record_id)
    except HarmostError:  # no Router is known: the kill is what matters
        return None


def _for(revocation: Any) -> str:
    return f" for `{revocation.tenant}`" if revocation.tenant else " everywhere"
