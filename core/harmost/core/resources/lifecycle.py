"""Where a model is in its life: what to tell whoever calls one that ends soon. Reads no clock."""

from datetime import date

from harmost.core.resources.kinds import ModelSpec

__all__ = ["NEAR_DAYS", "day", "has_end", "warning_of"]

# Vendors tell 60 days to six months ahead; a quarter leaves time to move.
NEAR_DAYS = 90


def day(text: str) -> date:
    """The day that `text` says, such as "2027-01-31"; ValueError where it is written otherwise."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise ValueError(f"`{text[:30]}` is no day: write it like 2027-01-31")
    return found


def has_end(model: ModelSpec) -> bool:
    """Whether `model` may have a warning at all, today or later."""
    return bool(model.retires_on or model.deprecated_on) or model.status in (
        "deprecated",
        "retired",
    )


def warning_of(name: str, model: ModelSpec, today: date) -> str:
    """Why not to build on `model` on `today`, a day in UTC, for people; "" where nothing is against it."""
    if not has_end(model):
        return ""
    ends = day(model.retires_on) if model.retires_on else None
    left_days = (ends - today).days if ends else NEAR_DAYS + 1
    if model.status == "retired":
        said = "is retired"
    elif left_days <= 0:
        said = f"is retired since {ends}"
    elif model.status == "deprecated" or _reached(model.deprecated_on, today):
        since = f" since {model.deprecated_on}" if _reached(model.deprecated_on, today) else ""
        said = f"is deprecated{since}" + (f" and retires on {ends}" if ends else "")
    elif left_days <= NEAR_DAYS:
        said = f"retires on {ends}, in {left_days} day{'' if left_days == 1 else 's'}"
    else:
        return ""
    use = f"`{model.replacement}`" if model.replacement else "another one"
    return f"model `{name}` {said}: use {use}"


def _reached(text: str, today: date) -> bool:
    return bool(text) and day(text) <= today
