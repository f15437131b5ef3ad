"""What must hold before anything is started: a data directory of our own, and ports that are free."""

import fcntl
import os
import secrets
import socket
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harmost.core.errors import InvalidInput
from harmost.core.resources.keys import new_key
from harmost.services.addresses import split_address
from harmost.services.operate.endpoints import ADMIN_KEY
from harmost.services.operate.keys import write_secret

__all__ = [
    "SERVICE_KEY",
    "admin_key",
    "audit_origin",
    "check_free",
    "deployment",
    "free_ports",
    "held",
    "service_key",
]

LOCK = "up.lock"
SERVICE_KEY = "service.key"
DEPLOYMENT = "deployment.id"


@contextmanager
def held(data_dir: Path) -> Generator[None, None, None]:
    """Make `data_dir` and keep every other `harmost up` out of it until the block ends."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"the data directory `{data_dir}` cannot be written: {_cause(error)}: "
            "give another with `--data DIR`"
        ) from error
    try:
        _lock(descriptor, data_dir)
        yield
    finally:
        os.close(descriptor)


def service_key(data_dir: Path) -> Path:
    """The file of the deployment's service key; made at the first start, mode 0600."""
    path = data_dir / SERVICE_KEY
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(32))
    return path


def deployment(data_dir: Path) -> str:
    """The name by which files of this deployment know it; made at the first start."""
    path = data_dir / DEPLOYMENT
    if not path.exists():
        write_secret(path, secrets.token_hex(8))
    return path.read_text(encoding="ascii").strip()


def audit_origin(data_dir: Path) -> str:
    """The name of the deployment's audit log."""
    return f"harmost.dev/audit/{deployment(data_dir)}"


def admin_key(data_dir: Path) -> Path:
    """The file of the key with which a person can do everything; made at the first start, mode 0600."""
    path = data_dir / ADMIN_KEY
    if not path.exists():
        write_secret(path, new_key()[0])
    return path


def check_free(listens: Mapping[str, str]) -> None:
    """Raise `InvalidInput` naming the first service of `listens` whose address cannot be had."""
    for service, address in listens.items():
        host, port = split_address(address)
        try:
            with _bound(host, port):
                pass
        except OSError as error:
            raise InvalidInput(
                f"`{address}`, wanted by {service}, cannot be had: {_cause(error)}: stop what "
                "listens there, or choose another with `--port` (0: any that are free)"
            ) from error


def free_ports(count: int, host: str) -> list[int]:
    """`count` ports that nothing listens on now; another program may still come first."""
    with ExitStack() as stack:
        bound = [stack.enter_context(_bound(host, 0)) for _ in range(count)]
        return [int(found.getsockname()[1]) for found in bound]


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = socket.socket(family, kind, protocol)
    try:
        # As servers do: connections that are closing from the last run are no hindrance.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
    except OSError:
        found.close()
        raise
    return found


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise InvalidInput(
            f"another `harmost up` (process {owner or 'unknown'}) runs on `{data_dir}`: "
            "stop it, or give another directory with `--data DIR`"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
