"""Addresses, "host:port", without anything heavy to import."""

import ipaddress

from harmost.core.errors import InvalidInput

__all__ = ["is_loopback", "split_address"]

PORT_MAX = 65_535


def split_address(address: str) -> tuple[str, int]:
    """Host (IPv6 without its brackets) and port of `address`; raises `InvalidInput`."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise InvalidInput(f"`{address}` is no address: write host:port, such as 127.0.0.1:50051")
    if ":" in host and not bracketed:
        raise InvalidInput(f"`{address}` is no address: write IPv6 as [::1]:50051")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`. A name other than localhost: no."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
