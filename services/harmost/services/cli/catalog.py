"""`harmost models`, `harmost profiles`: what there is to call."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from harmost.services.cli import options
from harmost.services.operate.endpoints import DATA_DIR

if TYPE_CHECKING:
    from harmost.client import Client
    from harmost.services.cli.target import Target

__all__ = ["models", "profiles"]


def models(
    address: options.Address = "",
    key: options.KeyText = "",
    key_file: options.KeyFile = None,
    data: options.DataDir = DATA_DIR,
    as_json: options.Json = False,
) -> None:
    """List the models of the catalog."""
    from harmost.services.cli.output import emit, table
    from harmost.services.cli.target import Target
    from harmost.services.operate.session import reaching

    target = Target(address=address, key=key, key_file=key_file, data_dir=data)
    with reaching(target.endpoint("router")), _client(target) as client:
        found = client.models()
    if as_json:
        emit([asdict(model) for model in found])
        return
    table(
        ("model", "provider", "vendor model", "region", "status", "context", "in $/M", "out $/M"),
        (
            (
                model.name,
                model.provider,
                model.vendor_model_id,
                model.region,
                model.status,
                f"{model.context_tokens_max:,}",
                _per_million(model.input_usd_picos_per_token),
                _per_million(model.output_usd_picos_per_token),
            )
            for model in found
        ),
        right=3,
    )


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
    with reaching(target.endpoint("router")), _client(target) as client:
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


def _client(target: "Target") -> "Client":
    from harmost.client import Client

    return Client(target.endpoint("router"), target.api_key(), target.tls())


def _per_million(picos: int | None) -> str:
    # A trillionth of a dollar a token is a millionth of a dollar a million tokens.
    return "unknown" if picos is None else f"{picos / 1_000_000:,.2f}"
