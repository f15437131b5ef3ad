"""Data classes: their names, which of them the scanner finds, and what a class implies.

A class is a word in `data.classes`. A finer class implies the coarser ones, so that a rule about
"personal" data also meets a prompt in which nothing but an e-mail address was found. Callers may
claim classes that are not listed here; those imply nothing.
"""

from collections.abc import Iterable, Mapping

__all__ = ["FOUND_CLASSES", "IMPLIED_CLASSES", "with_implied"]

# What scan.find() finds, in alphabetical order.
FOUND_CLASSES: tuple[str, ...] = ("email", "pan")

_PERSONAL = ("personal",)
# Art. 9 and 10 of the GDPR: data that is personal and special.
_SPECIAL = ("personal", "special")

# A card number names a card holder's account: PCI DSS calls it cardholder data, the GDPR personal.
IMPLIED_CLASSES: Mapping[str, tuple[str, ...]] = {
    "account": _PERSONAL,
    "address": _PERSONAL,
    "biometric": _SPECIAL,
    "birth_date": _PERSONAL,
    "criminal": _SPECIAL,
    "email": _PERSONAL,
    "genetic": _SPECIAL,
    "health": _SPECIAL,
    "iban": _PERSONAL,
    "ip_address": _PERSONAL,
    "location": _PERSONAL,
    "name": _PERSONAL,
    "pan": ("cardholder", "personal"),
    "passport": _PERSONAL,
    "phi": ("health", *_SPECIAL),
    "phone": _PERSONAL,
    "politics": _SPECIAL,
    "race": _SPECIAL,
    "religion": _SPECIAL,
    "sex_life": _SPECIAL,
    "special": _PERSONAL,
    "ssn": _PERSONAL,
    "union": _SPECIAL,
}


def with_implied(classes: Iterable[str]) -> list[str]:
    """`classes` and all that they imply, sorted, each once."""
    named = set(classes)
    return sorted(named.union(*(IMPLIED_CLASSES.get(name, ()) for name in named)))
