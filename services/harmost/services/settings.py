"""How one service is told to run: flags and environment, read by the CLI into one dataclass."""

from dataclasses import dataclass
from pathlib import Path

from harmost.core.errors import InvalidInput
from harmost.services.addresses import is_loopback, split_address

__all__ = ["SLOTS_MAX", "Settings"]

GRACE_S_MAX = 3_600.0
SLOTS_MAX = 64  # workers of one machine: one a core is what helps


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a service needs to start. Addresses are "host:port"; a service ignores what it needs not.

    The service key is what services show each other, the admin key is who may do everything.
    The Policy service signs with `policy_signing_key`; whoever watches it takes what one of
    `policy_verify_keys` signed. `tls_ca` is what a service trusts when it calls another one, `tls_client_ca` whom it lets call;
    `grace_s` is how long running calls may go on after the request to stop. A Router is one of `slots`
    workers that share `listen` and `data_dir`; `own_listen` is where it alone is reached. A ledger or
    journal belongs to one `deployment` and opens for no other; "" asks for none. Telemetry keeps an
    audit log, called `audit_origin`, at `audit_log` (a directory or URL; "": in `data_dir`) where it has
    an `audit_signing_key` ("file:PATH"); `audit_witnesses` ("KEY@URL") cosign it.
    `keep` says for how long it keeps what (telemetry/retention.py); it asks the Routers at
    `router_addresses` how they are, and serves metrics on `metrics_listen`, "" for nowhere.
    """

    listen: str
    data_dir: Path
    service_key_file: Path | None = None
    admin_key_file: Path | None = None
    policy_signing_key: Path | None = None
    policy_verify_keys: tuple[Path, ...] = ()
    transport: str = "wire"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tls_ca: Path | None = None
    policy_address: str = ""
    budget_address: str = ""
    telemetry_address: str = ""
    router_addresses: tuple[str, ...] = ()
    metrics_listen: str = ""
    deployment: str = ""
    audit_signing_key: str = ""
    audit_log: str = ""
    audit_origin: str = ""
    audit_witnesses: tuple[str, ...] = ()
    router_name: str = "router"
    slot: int = 0
    slots: int = 1
    own_listen: str = ""
    allow_insecure: bool = False
    grace_s: float = 10.0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse with `InvalidInput` what cannot run, or would run unsafely."""
        split_address(self.listen)
        if self.transport not in ("wire", "grpcio"):
            raise InvalidInput(f"transport `{self.transport}` is not known: use wire or grpcio")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidInput("TLS needs both `--tls-cert` and `--tls-key`: give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidInput("`--tls-client-ca` means nothing without `--tls-cert`: give both")
        for path in (self.tls_cert, self.tls_key, self.tls_client_ca, self.tls_ca):
            if path is not None and not path.is_file():
                raise InvalidInput(f"no file at `{path}`: give the path of a PEM file")
        if self.audit_signing_key and not self.audit_origin:
            raise InvalidInput(
                "an audit log has a name: give `--audit-origin`, like a URL without its scheme, such "
                "as `example.com/audit`"
            )
        if not 0 <= self.slot < self.slots <= SLOTS_MAX:
            raise InvalidInput(
                f"worker {self.slot} of {self.slots} cannot be: there are 1 to {SLOTS_MAX} workers, "
                "counted from 0"
            )
        if self.own_listen and not is_loopback(self.own_listen):
            raise InvalidInput(
                f"`{self.own_listen}` can be reached from other machines: "
                "a worker's own address is for this one, such as 127.0.0.1:50056"
            )
        if self.metrics_listen and not (self.allow_insecure or is_loopback(self.metrics_listen)):
            raise InvalidInput(
                f"metrics on `{self.metrics_listen}` can be read from other machines, by anyone: "
                "say `--insecure-listen` if the network is safe, or send them with OTLP"
            )
        if not 0 <= self.grace_s <= GRACE_S_MAX:
            raise InvalidInput(f"grace must be from 0 to {GRACE_S_MAX:.0f} s: `{self.grace_s}`")
        if self.tls_cert is None and not self.allow_insecure and not is_loopback(self.listen):
            raise InvalidInput(
                f"`{self.listen}` can be reached from other machines and there is no TLS: give "
                "`--tls-cert` and `--tls-key`, or say `--insecure-listen` if the network is safe"
            )

    @property
    def router_id(self) -> str:
        """The worker's name in records."""
        return f"{self.router_name}-{self.slot}"
