"""Models and profiles as callers may see them."""

from collections.abc import Sequence
from datetime import date

from harmost.core.budget.price import ModelPrice
from harmost.core.mission.steps import CompiledStep
from harmost.core.resources.kinds import Metadata
from harmost.core.resources.lifecycle import warning_of
from harmost.core.resources.resolve import Catalog
from harmost.router.v1 import router_pb2

__all__ = ["model_info", "profile_info"]


def model_info(
    name: str, catalog: Catalog, price: ModelPrice | None, today: date
) -> router_pb2.ModelInfo:
    """A model of `catalog`; prices are absent where they are not known. `today` is in UTC."""
    model = catalog.models[name].spec
    return router_pb2.ModelInfo(
        name=name,
        provider=model.provider,
        vendor_model_id=model.vendor_model_id,
        context_tokens_max=model.context_tokens_max,
        region=model.region or catalog.providers[model.provider].spec.region,
        input_usd_picos_per_token=price.input_usd_picos if price else None,
        output_usd_picos_per_token=price.output_usd_picos if price else None,
        status=model.status,
        price_version=price.version if price else "",
        version=model.version,
        output_tokens_max=model.output_tokens_max,
        capabilities=model.capabilities,
        certifications=model.certifications,
        quality=model.quality,
        deprecated_on=model.deprecated_on,
        retires_on=model.retires_on,
        replacement=model.replacement,
        warning=warning_of(name, model, today),
    )


def profile_info(metadata: Metadata, steps: Sequence[CompiledStep]) -> router_pb2.ProfileInfo:
    """A mission profile that may be called."""
    return router_pb2.ProfileInfo(
        name=metadata.name,
        tenant=metadata.tenant,
        steps=[step.name for step in steps],
        models=steps[0].models,
        description=metadata.description,
    )
