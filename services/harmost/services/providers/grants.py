"""What stands behind a reference to credentials, and how it stays fresh. Fetching blocks; reading does not."""

import math
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from harmost.core.errors import NotPossibleNow

__all__ = ["Grant", "Source"]

_SHARE_MIN, _SHARE_MAX = 0.7, 0.8  # of its lifetime, a grant is renewed after
_RETRY_MIN_S, _RETRY_MAX_S = 1.0, 60.0
_REFUSED_WAIT_S, _REFUSED_WAIT_MAX_S = 5.0, 300.0


class Grant(NamedTuple):
    """A key or token, or AWS's keys. `expires_s` is Unix time."""

    secrets: tuple[str, ...]
    expires_s: float = math.inf

    def __repr__(self) -> str:
        return f"Grant(expires_s={self.expires_s})"  # whoever logs it must not tell it


class Source:
    """Credentials that one reference names. One thread at a time calls `fetch`; all may read.

    An old grant is good until it expires, whatever becomes of fetching a new one.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_draw",
        "_fetch",
        "_refusals",
        "_refused",
        "_tries",
        "due_s",
        "grant",
        "title",
        "why",
    )

    def __init__(
        self,
        title: str,
        fetch: Callable[[], Grant],
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.title = title
        self.grant = Grant(())
        self.why = f"no credentials from `{title}` yet: try again in a moment"
        self.due_s = 0.0  # when it is to be fetched (again), Unix time
        self._fetch, self._clock, self._draw = fetch, clock, draw
        self._tries = self._refusals = 0
        self._refused: Grant | None = None

    @property
    def fault(self) -> str:
        """Why nothing can be sent with it now; "" where something can."""
        grant = self.grant
        if not grant.secrets:
            return self.why
        if grant.expires_s <= self._clock():
            return f"the credentials from `{self.title}` have expired: {self.why or 'not renewed'}"
        return ""

    def fetch(self) -> None:
        """Get a grant, and set when the next is due. Blocks; never raises."""
        try:
            grant = self._fetch()
        except NotPossibleNow as error:
            self._failed(error.message)
            return
        except Exception as error:  # noqa: BLE001 - the root of a thread; a library's words may be secrets
            self._failed(f"no credentials from `{self.title}`: {type(error).__name__}")
            return
        if self.grant is not self._refused:
            self._refusals = 0
        self.grant, self.why, self._tries = grant, "", 0
        now_s = self._clock()
        share = _SHARE_MIN + (_SHARE_MAX - _SHARE_MIN) * self._draw()
        self.due_s = now_s + max(_RETRY_MIN_S, (grant.expires_s - now_s) * share)

    def _failed(self, why: str) -> None:
        self.why = why
        self._tries += 1
        wait_s = min(_RETRY_MAX_S, _RETRY_MIN_S * 2 ** min(self._tries - 1, 10))
        self.due_s = self._clock() + wait_s * (0.5 + self._draw() / 2)

    def refused(self, grant: Grant) -> None:
        """A provider did not take `grant`: fetch another soon, if it is still the one in use.

        Where each new one is refused as well, the waits grow: it is not the token's fault.
        """
        if grant is not self.grant or grant is self._refused or self.fault:
            return
        wait_s = min(_REFUSED_WAIT_MAX_S, _REFUSED_WAIT_S * 2 ** min(self._refusals, 10))
        self._refused, self._refusals = grant, self._refusals + 1
        self.due_s = min(self.due_s, self._clock() + wait_s)
