"""`harmost router|telemetry|sandbox`: one service alone, in this process.

`harmost budget` and `harmost policy` stand in budget.py and policy.py, beside their subcommands.
"""

import os
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from harmost.services.operate.endpoints import PORT

__all__ = ["router", "run", "sandbox", "telemetry"]

Listen = Annotated[
    str,
    typer.Option("--listen", metavar="HOST:PORT", envvar="HARMOST_LISTEN", help="Where to listen."),
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", envvar="HARMOST_DATA_DIR", help="Where its files live."),
]
ServiceKey = Annotated[
    Path | None,
    typer.Option(
        "--service-key-file",
        metavar="FILE",
        envvar="HARMOST_SERVICE_KEY_FILE",
        help="The key that the services of this deployment show each other.",
    ),
]
AdminKey = Annotated[
    Path | None,
    typer.Option(
        "--admin-key-file",
        metavar="FILE",
        envvar="HARMOST_ADMIN_KEY_FILE",
        help="The key of who may do everything in this deployment.",
    ),
]
PolicySigningKey = Annotated[
    Path | None,
    typer.Option(
        "--policy-signing-key",
        metavar="PEM",
        envvar="HARMOST_POLICY_SIGNING_KEY",
        help="The Ed25519 private key that signs snapshots; only its owner may read it.",
    ),
]
PolicyVerifyKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy-verify-key",
        metavar="PEM",
        envvar="HARMOST_POLICY_VERIFY_KEY",
        help="Public keys that may sign snapshots; again for more files.",
        show_default=False,
    ),
]
Transport = Annotated[
    str,
    typer.Option("--transport", envvar="HARMOST_TRANSPORT", help="wire (our own) or grpcio."),
]
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", envvar="HARMOST_TLS_CERT", metavar="PEM", help="Certificate."),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", envvar="HARMOST_TLS_KEY", metavar="PEM", help="Its private key."),
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        envvar="HARMOST_TLS_CLIENT_CA",
        metavar="PEM",
        help="Who calls must have a certificate of this authority.",
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        envvar="HARMOST_TLS_CA",
        metavar="PEM",
        help="Authority of the other services' certificates.",
    ),
]
Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="HOST:PORT",
        envvar="HARMOST_POLICY_ADDRESS",
        help="Where Policy listens.",
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="HOST:PORT",
        envvar="HARMOST_BUDGET_ADDRESS",
        help="Where Budget listens.",
    ),
]
Telemetry = Annotated[
    str,
    typer.Option(
        "--telemetry",
        metavar="HOST:PORT",
        envvar="HARMOST_TELEMETRY_ADDRESS",
        help="Where Telemetry listens.",
    ),
]
RouterName = Annotated[
    str,
    typer.Option(
        "--name",
        envvar="HARMOST_ROUTER_NAME",
        help="With the worker's number: its name in records.",
    ),
]
Worker = Annotated[int, typer.Option("--worker", min=0, help="Its number among the workers.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        help="How many share the port and the directory. Slots beyond are replayed and removed.",
    ),
]
Routers = Annotated[
    list[str] | None,
    typer.Option(
        "--router",
        metavar="HOST:PORT",
        envvar="HARMOST_ROUTER_ADDRESSES",
        help="A Router that is asked how it is, for metrics; again for more.",
        show_default=False,
    ),
]
MetricsListen = Annotated[
    str,
    typer.Option(
        "--metrics-listen",
        metavar="HOST:PORT",
        envvar="HARMOST_METRICS_LISTEN",
        help="Where Prometheus scrapes /metrics. Default: nowhere.",
        show_default=False,
    ),
]
AskedBudget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="HOST:PORT",
        envvar="HARMOST_BUDGET_ADDRESS",
        help="The Budget service that is asked for levels, for metrics. Default: none is.",
        show_default=False,
    ),
]
OwnListen = Annotated[
    str,
    typer.Option(
        "--own-listen",
        metavar="HOST:PORT",
        help="Where this worker alone is reached.",
        show_default=False,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure-listen",
        envvar="HARMOST_INSECURE_LISTEN",
        help="Let other machines connect without TLS.",
    ),
]
Grace = Annotated[
    float,
    typer.Option("--grace", envvar="HARMOST_GRACE_S", help="Seconds for running calls to end."),
]
Deployment = Annotated[
    str,
    typer.Option(
        "--deployment",
        metavar="NAME",
        envvar="HARMOST_DEPLOYMENT",
        help="Whose ledger or journal it is: one that belongs to another is refused. Default: not asked.",
        show_default=False,
    ),
]
AuditSigningKey = Annotated[
    str,
    typer.Option(
        "--audit-signing-key",
        metavar="file:PATH",
        envvar="HARMOST_AUDIT_SIGNING_KEY",
        help="The Ed25519 private key that signs the audit log. Default: none is kept.",
        show_default=False,
    ),
]
AuditLog = Annotated[
    str,
    typer.Option(
        "--audit-log",
        metavar="DIR|URL",
        envvar="HARMOST_AUDIT_LOG",
        help="Where the audit log is kept: a directory, or a URL such as s3://bucket/audit. "
        "Default: audit in the data directory.",
        show_default=False,
    ),
]
AuditOrigin = Annotated[
    str,
    typer.Option(
        "--audit-origin",
        metavar="NAME",
        envvar="HARMOST_AUDIT_ORIGIN",
        help="The audit log's name, like a URL without its scheme. Never changes.",
        show_default=False,
    ),
]
AuditWitnesses = Annotated[
    list[str] | None,
    typer.Option(
        "--audit-witness",
        metavar="KEY@URL",
        envvar="HARMOST_AUDIT_WITNESSES",
        help="A witness that cosigns the audit log; again for more.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="CLASS=90d|CLASS=ROWS",
        envvar="HARMOST_KEEP",
        help="For how long to keep usage (800d), records (400d) or vectors (90d), or how many; again "
        "for more. What is older is forgotten; in the variable, parted by spaces.",
        show_default=False,
    ),
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]


def router(
    listen: Listen = f"127.0.0.1:{PORT}",
    data: Data = Path(".harmost"),
    service_key_file: ServiceKey = None,
    admin_key_file: AdminKey = None,
    policy_verify_key: PolicyVerifyKeys = None,
    transport: Transport = "wire",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    tls_ca: TlsCa = None,
    policy: Policy = f"127.0.0.1:{PORT + 1}",
    budget: Budget = f"127.0.0.1:{PORT + 2}",
    telemetry: Telemetry = f"127.0.0.1:{PORT + 3}",
    name: RouterName = "router",
    worker: Worker = 0,
    workers: Workers = 1,
    own_listen: OwnListen = "",
    insecure_listen: Insecure = False,
    grace: Grace = 10.0,
    deployment: Deployment = "",
    supervised: Supervised = False,
) -> None:
    """Run a Router alone, or one of the workers that share a port: it takes the calls."""
    run(
        "router",
        supervised=supervised,
        listen=listen,
        data_dir=data,
        service_key_file=service_key_file,
        admin_key_file=admin_key_file,
        policy_verify_keys=tuple(policy_verify_key or ()),
        transport=transport,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tls_ca=tls_ca,
        policy_address=policy,
        budget_address=budget,
        telemetry_address=telemetry,
        router_name=name,
        slot=worker,
        slots=workers,
        own_listen=own_listen,
        allow_insecure=insecure_listen,
        grace_s=grace,
        deployment=deployment,
    )


def telemetry(
    listen: Listen = f"127.0.0.1:{PORT + 3}",
    data: Data = Path(".harmost"),
    service_key_file: ServiceKey = None,
    admin_key_file: AdminKey = None,
    policy_verify_key: PolicyVerifyKeys = None,
    transport: Transport = "wire",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    tls_ca: TlsCa = None,
    policy: Policy = f"127.0.0.1:{PORT + 1}",
    audit_signing_key: AuditSigningKey = "",
    audit_log: AuditLog = "",
    audit_origin: AuditOrigin = "",
    audit_witness: AuditWitnesses = None,
    budget: AskedBudget = "",
    router: Routers = None,
    metrics_listen: MetricsListen = "",
    insecure_listen: Insecure = False,
    grace: Grace = 10.0,
    keep: Keep = None,
    supervised: Supervised = False,
) -> None:
    """Run the Telemetry service alone: it keeps records and audit log, and makes telemetry of them.

    OTEL_* variables say where that is sent: see docs/telemetry.md.
    """
    run(
        "telemetry",
        supervised=supervised,
        listen=listen,
        data_dir=data,
        service_key_file=service_key_file,
        admin_key_file=admin_key_file,
        policy_verify_keys=tuple(policy_verify_key or ()),
        transport=transport,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tls_ca=tls_ca,
        policy_address=policy,
        audit_signing_key=audit_signing_key,
        audit_log=audit_log,
        audit_origin=audit_origin,
        audit_witnesses=tuple(audit_witness or ()),
        budget_address=budget,
        router_addresses=tuple(router or ()),
        metrics_listen=metrics_listen,
        allow_insecure=insecure_listen,
        grace_s=grace,
        keep=tuple(keep or ()),
    )


def sandbox(
    listen: Listen = f"127.0.0.1:{PORT + 4}",
    data: Data = Path(".harmost"),
    insecure_listen: Insecure = False,
    supervised: Supervised = False,
) -> None:
    """Run the sandbox provider alone: models that cost nothing and need no key."""
    run(
        "sandbox",
        supervised=supervised,
        listen=listen,
        data_dir=data,
        allow_insecure=insecure_listen,
    )


def run(service: str, *, supervised: bool, **settings: Any) -> None:
    """Run `service` until it is told to stop; ends with its exit code."""
    from harmost.services.settings import Settings

    checked = Settings(**settings)
    _log_to_stderr()
    if supervised:
        _end_with_parent(checked.grace_s)
    from harmost.services import main

    raise typer.Exit(main.run(service, checked))


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(
        level=os.environ.get("HARMOST_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _end_with_parent(grace_s: float) -> None:
    """Stop when standard input ends: the supervisor holds its other side and never writes."""

    def watch() -> None:
        import signal
        import time

        while os.read(0, 4096):  # not sys.stdin: its lock would be held when Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s + 5)
        os._exit(1)  # asked, and did not go

    threading.Thread(target=watch, name="harmost.parent", daemon=True).start()
