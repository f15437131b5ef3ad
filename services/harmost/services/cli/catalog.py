"""`harmost profiles`: what there is to call."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.client import Client
    from harmost.services.cli.target import Target

__all__ = ["client_of", "profiles"]


def profiles(
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List the mission profiles that your key may call."""
    from harmost.services.cli.output import emit, table
    from harmost.services.cli.target import Target
    from harmost.services.operate.session import reaching

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with reaching(target.endpoint("router")), client_of(target) as client:
        found = client.profiles()
    if as_json:
        emit([asdict(profile) for profile in found])
        return
    table(
        ("profile", "tenant", "steps", "models", "what for"),
        (
            (
                profile.name,
                profile.tenant,
                ", ".join(profile.steps),
                ", ".join(profile.models),
                profile.description,
            )
            for profile in found
        ),
    )


def client_of(target: "Target") -> "Client":
    """A client of the Router that `target` names."""
    from harmost.client import Client

    return Client(target.endpoint("router"), target.api_key(), target.tls())
