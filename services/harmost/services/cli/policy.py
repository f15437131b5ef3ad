"""`harmost policy`: run the Policy service alone; its subcommands stand in policy_*.py."""

import typer

from harmost.services.cli import (
    policy_explain,
    policy_kills,
    policy_lint,
    policy_replay,
    policy_status,
    policy_test,
    serve,
)
from harmost.services.operate.endpoints import DATA_DIR, PORT

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)

app.command("test")(policy_test.run_tests)
app.command("lint")(policy_lint.lint)
app.command("explain")(policy_explain.explain)
app.command("status")(policy_status.status)
app.command("history")(policy_status.history)
app.command("rollback")(policy_status.rollback)
app.command("rotate-key")(policy_status.rotate_key)
app.command("replay")(policy_replay.replay)
app.command("kill")(policy_kills.kill)
app.command("restore")(policy_kills.restore)
app.command("kills")(policy_kills.kills)


@app.callback()
def policy(
    context: typer.Context,
    listen: serve.Listen = f"127.0.0.1:{PORT + 1}",
    data: serve.Data = DATA_DIR,
    service_key_file: serve.ServiceKey = None,
    admin_key_file: serve.AdminKey = None,
    policy_signing_key: serve.PolicySigningKey = None,
    transport: serve.Transport = "wire",
    tls_cert: serve.TlsCert = None,
    tls_key: serve.TlsKey = None,
    tls_client_ca: serve.TlsClientCa = None,
    tls_ca: serve.TlsCa = None,
    telemetry: serve.Telemetry = f"127.0.0.1:{PORT + 3}",
    insecure_listen: serve.Insecure = False,
    grace: serve.Grace = 10.0,
    supervised: serve.Supervised = False,
) -> None:
    """Test, lint and explain rules; see, replay, roll back and stop what runs. Without a command: run
    the Policy service alone."""
    if context.invoked_subcommand is not None:
        return
    serve.run(
        "policy",
        supervised=supervised,
        listen=listen,
        data_dir=data,
        service_key_file=service_key_file,
        admin_key_file=admin_key_file,
        policy_signing_key=policy_signing_key,
        transport=transport,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tls_ca=tls_ca,
        telemetry_address=telemetry,
        allow_insecure=insecure_listen,
        grace_s=grace,
    )
