"""Which service a command talks to, and with which key."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmost.core.errors import InvalidInput, Unauthenticated
from harmost.services.addresses import split_address

if TYPE_CHECKING:
    from harmost.client import Tls
    from harmost.services.operate.endpoints import Endpoints
    from harmost.services.operate.session import Session

__all__ = ["Target"]

KEY_BYTES_MAX = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the connection options said; empty means: find it."""

    address: str
    key: str
    key_file: Path | None
    data_dir: Path

    def endpoint(self, service: str) -> str:
        """The address of `service`: option, environment, endpoints.json, default; in this order."""
        variable = (
            "HARMOST_ADDRESS" if service == "router" else f"HARMOST_{service.upper()}_ADDRESS"
        )
        known = self.address or os.environ.get(variable) or getattr(self._endpoints(), service)
        if not known:
            raise InvalidInput(f"no {service} runs: start `harmost up` with it")
        split_address(known)
        return str(known)

    def workers(self) -> tuple[str, ...]:
        """Where each of the Router's workers is reached alone; the Router's own address if unknown."""
        if self.address or "HARMOST_ADDRESS" in os.environ:
            return (self.endpoint("router"),)
        return self._endpoints().workers or (self.endpoint("router"),)

    def api_key(self) -> str:
        """The key: option or HARMOST_KEY, key file, the data directory's admin key."""
        if self.key:
            return self.key.strip()
        path = self.key_file or self.data_dir / "admin.key"
        try:
            with path.open(encoding="utf-8") as file:
                return file.read(KEY_BYTES_MAX).strip()
        except FileNotFoundError as error:
            raise Unauthenticated(
                f"no key: there is no `{path}`; set HARMOST_KEY, give `--key-file`, or run this "
                "beside the data directory of `harmost up` (`--data DIR`)"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"key file `{path}` cannot be read: {error}") from error

    def tls_ca(self) -> Path | None:
        """What to trust; None is plaintext."""
        said = os.environ.get("HARMOST_TLS_CA", "")
        if not said and not self.address:
            said = self._endpoints().tls_ca
        if said and not Path(said).is_file():
            raise InvalidInput(f"no file at `{said}`: HARMOST_TLS_CA names a PEM file")
        return Path(said) if said else None

    def tls(self) -> "Tls | None":
        """The same for harmost.client."""
        from harmost.client import Tls

        ca = self.tls_ca()
        return Tls(ca=ca) if ca else None

    def session(self, service: str) -> "Session":
        """A session with `service`."""
        from harmost.services.operate.session import Session

        return Session(
            self.endpoint(service), _stub(service), key=self.api_key(), tls_ca=self.tls_ca()
        )

    def _endpoints(self) -> "Endpoints":
        from harmost.services.operate.endpoints import Endpoints

        return Endpoints.read(self.data_dir) or Endpoints()


def _stub(service: str) -> Any:
    match service:
        case "policy":
            from harmost.policy.v1.policy_pb2_grpc import PolicyServiceStub

            return PolicyServiceStub
        case "budget":
            from harmost.budget.v1.budget_pb2_grpc import BudgetServiceStub

            return BudgetServiceStub
        case "telemetry":
            from harmost.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub

            return TelemetryServiceStub
        case _:
            raise ValueError(f"no session with `{service}`")
