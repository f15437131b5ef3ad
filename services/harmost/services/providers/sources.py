"""From a reference in a `Provider` document to where its credentials come from."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from .credentials import secret
from .grants import Grant, Source

__all__ = ["is_cloud", "source"]

_CLOUDS = ("aws", "google", "entra")


def is_cloud(reference: str) -> bool:
    """Whether `reference` gives tokens that a cloud's library fetches."""
    return reference.partition(":")[0] in _CLOUDS


def source(
    reference: str,
    *,
    scope: str = "",
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> Source:
    """Where `reference` leads; nothing is fetched yet. `scope`: what a token is asked for."""
    match reference.partition(":")[0]:
        case "aws":
            fetch = partial(_aws, reference)
        case "google":
            fetch = partial(_google, reference, scope)
        case "entra":
            fetch = partial(_entra, reference, scope)
        case _:
            fetch = partial(_key, reference, environment)
    return Source(reference, fetch, clock=clock)


# Imported when they are used: who names no cloud needs no library of one.


def _aws(reference: str) -> Grant:
    from .clouds.aws import aws_keys

    return aws_keys(reference)


def _google(reference: str, scope: str) -> Grant:
    from .clouds.google import google_token

    return google_token(reference, scope)


def _entra(reference: str, scope: str) -> Grant:
    from .clouds.entra import entra_token

    return entra_token(reference, scope)


def _key(reference: str, environment: Mapping[str, str]) -> Grant:
    return Grant((secret(reference, environment=environment),))
