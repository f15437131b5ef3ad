"""Whether a failed call may be made again, and when. Decides only: no clock, no sleep, no dice.

A model call costs money, so it is never made twice by this client's own idea:

* `Chat` without an idempotency key, and any stream: never again.
* `Chat` with a key: again when the service was unavailable, and when it said to try later.
* Reads (models, profiles): again when the service was unavailable.

A failure of the providers is an answer of the mesh, not an unavailable service: never again.
"""

from enum import Enum

import grpc

from harmost.client.errors import HarmostError

__all__ = ["TRIES_MAX", "Repeat", "delay_s"]

TRIES_MAX = 4  # the first one included
BACKOFF_S = 0.1
BACKOFF_S_MAX = 2.0
# Those who were told the same moment should not come back in the same one.
RETRY_AFTER_JITTER = 0.2


class Repeat(Enum):
    """What may be made again."""

    NEVER = "never"
    KEYED = "keyed"
    READ = "read"


def delay_s(
    error: HarmostError, *, repeat: Repeat, tries: int, remaining_s: float, dice: float
) -> float | None:
    """Seconds to wait before the next try, or None: raise `error`.

    `tries` made so far (>= 1), `dice` uniform in [0, 1), `remaining_s` until the deadline.
    """
    if tries >= TRIES_MAX or not _may_repeat(error, repeat):
        return None
    if error.retry_after_s is not None:
        delay = error.retry_after_s * (1 + RETRY_AFTER_JITTER * dice)
    else:
        delay = min(BACKOFF_S * 2 ** (tries - 1), BACKOFF_S_MAX) * (0.5 + dice / 2)
    # A wait that outlasts the deadline would only turn a clear error into DEADLINE_EXCEEDED.
    return delay if delay < remaining_s else None


def _may_repeat(error: HarmostError, repeat: Repeat) -> bool:
    if repeat is Repeat.NEVER or error.reason == "PROVIDER_FAILED":
        return False
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    throttled = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return repeat is Repeat.KEYED and throttled and error.retry_after_s is not None
