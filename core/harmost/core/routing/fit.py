"""Whether a model can be asked what a call asks, and which wishes it does not know. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from harmost.core.chat import Embeds, Generation, Media, MediaKind, Message
from harmost.core.providers.codec import Fit
from harmost.core.providers.embed import EmbedCodec
from harmost.core.resources.kinds import ModelSpec

__all__ = [
    "dropped",
    "embeds_alone",
    "media",
    "modalities",
    "needs",
    "unfit",
    "unfit_to_embed",
    "within",
]

_BY_MEDIA = {"image": "vision", "audio": "audio", "file": "files"}


def media(messages: Iterable[Message]) -> list[MediaKind]:
    """The kind of each picture, sound and document."""
    return [part.kind for m in messages for part in m.parts if isinstance(part, Media)]


def modalities(messages: Iterable[Message]) -> list[str]:
    """What the input is made of: "text", and kinds of media in alphabetical order."""
    return ["text", *sorted(set(media(messages)))]


def needs(messages: Sequence[Message], generation: Generation) -> tuple[str, ...]:
    """The capabilities that a model must have for it, beside "chat"."""
    found = [_BY_MEDIA[kind] for kind in modalities(messages)[1:]]
    if generation.tools:
        found.append("tools")
    if generation.output_schema_json:
        found.append("json_schema")
    return tuple(found)


def unfit(model: ModelSpec, fit: Fit, needed: Iterable[str], wishes: Sequence[str]) -> str:
    """Why `model` cannot be asked; "": it can. `wishes` are those that must not be dropped."""
    if fit.lacks:
        return f"its provider's format has no form for `{fit.lacks[0]}`"
    for capability in needed:
        if capability not in model.capabilities:
            return (
                f"the call needs `{capability}`, which its `capabilities` do not name: "
                "add it if the model can"
            )
    if wishes:
        return (
            f"it does not take `{wishes[0]}`, and the profile says `unsupported_parameters: refuse`"
        )
    return ""


def dropped(model: ModelSpec, fit: Fit, generation: Generation) -> tuple[str, ...]:
    """Wishes of `generation` that an attempt of `model` leaves out."""
    if within(model, generation) is not generation:
        return (*fit.drops, "reasoning_effort")
    return fit.drops


def within(model: ModelSpec, generation: Generation) -> Generation:
    """`generation` without an effort that `model` cannot make: a format may take little beside one."""
    reasons = generation.reasoning_effort not in ("", "none")
    if reasons and "reasoning" not in model.capabilities:
        return msgspec.structs.replace(generation, reasoning_effort="")
    return generation


def embeds_alone(model: ModelSpec) -> bool:
    """Whether `model` makes vectors and answers nothing."""
    return "embeddings" in model.capabilities and "chat" not in model.capabilities


def unfit_to_embed(
    model: ModelSpec, codec: EmbedCodec | None, embeds: Embeds, *, texts: int, drop: bool
) -> str:
    """Why `model`, whose provider's format for vectors is `codec`, cannot be asked; "": it can.

    `drop`: wishes that the format does not know may be left out.
    """
    if codec is None:
        return "its provider's format has no vectors"
    texts_max = codec.texts_max(model.vendor_model_id)
    if texts > texts_max:
        return f"it takes at most {texts_max} texts in one call, and these are {texts}"
    fit = codec.fit(model.vendor_model_id, embeds)
    return unfit(model, fit, ("embeddings",), () if drop else fit.drops)
