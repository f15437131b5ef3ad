"""Where the services of a mesh listen: `endpoints.json` in the data directory, else the defaults."""

import json
import os
from pathlib import Path

import msgspec

from harmost.core.errors import InvalidInput

__all__ = ["ADMIN_KEY", "DATA_DIR", "ENDPOINTS", "PORT", "SERVICES", "Endpoints"]

DATA_DIR = Path(".harmost")
ENDPOINTS = "endpoints.json"
ADMIN_KEY = "admin.key"
PORT = 50_051

# In the order of their ports.
SERVICES = ("router", "policy", "budget", "telemetry", "sandbox")


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, "host:port". `sandbox` speaks HTTP, "" if there is none; `tls_ca` "" is plaintext;
    `metrics` is where Prometheus scrapes.

    `workers` are where each of the Router's workers is reached alone; they share `router`.
    """

    router: str = f"127.0.0.1:{PORT}"
    policy: str = f"127.0.0.1:{PORT + 1}"
    budget: str = f"127.0.0.1:{PORT + 2}"
    telemetry: str = f"127.0.0.1:{PORT + 3}"
    sandbox: str = f"127.0.0.1:{PORT + 4}"
    tls_ca: str = ""
    metrics: str = ""
    workers: tuple[str, ...] = ()

    @classmethod
    def read(cls, data_dir: Path) -> "Endpoints | None":
        """What `harmost up` wrote into `data_dir`; None if it never ran there."""
        path = data_dir / ENDPOINTS
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise InvalidInput(f"`{path}` cannot be read: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"`{path}` is damaged: {error}: start `harmost up` again") from error

    def write(self, data_dir: Path) -> None:
        """Put it into `data_dir`, whole or not at all."""
        path = data_dir / ENDPOINTS
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(msgspec.to_builtins(self), indent=2) + "\n", encoding="utf-8")
        os.replace(draft, path)
