"""`harmost budget`: run the Budget service alone, or with a further word: see and correct budgets."""

import typer

from harmost.services.cli import serve
from harmost.services.cli.money import adjust, entries, show, top, write_off
from harmost.services.operate.endpoints import DATA_DIR, PORT

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def budget(
    context: typer.Context,
    listen: serve.Listen = f"127.0.0.1:{PORT + 2}",
    data: serve.Data = DATA_DIR,
    service_key_file: serve.ServiceKey = None,
    admin_key_file: serve.AdminKey = None,
    policy_verify_key: serve.PolicyVerifyKeys = None,
    transport: serve.Transport = "wire",
    tls_cert: serve.TlsCert = None,
    tls_key: serve.TlsKey = None,
    tls_client_ca: serve.TlsClientCa = None,
    tls_ca: serve.TlsCa = None,
    policy: serve.Policy = f"127.0.0.1:{PORT + 1}",
    insecure_listen: serve.Insecure = False,
    grace: serve.Grace = 10.0,
    deployment: serve.Deployment = "",
    supervised: serve.Supervised = False,
) -> None:
    """See and correct budgets. Without a command: run the Budget service alone."""
    if context.invoked_subcommand is not None:
        return
    serve.run(
        "budget",
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
        allow_insecure=insecure_listen,
        grace_s=grace,
        deployment=deployment,
    )


app.command("show")(show.show)
app.command("top")(top.top)
app.command("entries")(entries.entries)
# "-2.50" is an amount, not an option.
app.command("adjust", context_settings={"ignore_unknown_options": True})(adjust.adjust)
app.command("write-off")(write_off.write_off)
