"""gRPC address strings to bound sockets: `host:port`, `[v6]:port`, `unix:path`. Accepts nothing."""

import socket
from contextlib import suppress
from pathlib import Path

__all__ = ["BACKLOG", "bind", "port_of"]

BACKLOG = 4096  # connections not yet accepted


def bind(address: str, *, reuse_port: bool) -> socket.socket:
    """A socket that listens on `address`. RuntimeError when it cannot be had."""
    try:
        if address.startswith("unix:"):
            return _bind_path(address.removeprefix("unix:").removeprefix("//"))
        return _bind_port(*_split(address), reuse_port=reuse_port)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"cannot bind `{address}`: {error}") from error


def port_of(bound: socket.socket) -> int:
    """The port of a bound socket; 1, as gRPC has it, for a local socket."""
    return 1 if bound.family == socket.AF_UNIX else int(bound.getsockname()[1])


def _split(address: str) -> tuple[str, int]:
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError("no port")
    return host.strip("[]"), int(port)


def _bind_port(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family, kind, proto, _, where = socket.getaddrinfo(
        host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port and hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(where)
        bound.listen(BACKLOG)  # now: until then another socket could bind the same port
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_path(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        Path(path).unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
