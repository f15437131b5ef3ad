"""The taxonomy of regions that facts use. A provider's own region names are mapped onto it."""

__all__ = ["REGIONS"]

REGIONS: tuple[str, ...] = (
    "EEA",
    "UK",
    "CH",
    "US",
    "US-CA",
    "CA",
    "AU",
    "JP",
    "IN",
    "SG",
    "BR",
    "KR",
    "GLOBAL",
)
