"""What may be made again, as a table."""

import grpc
import pytest

from harmost.client.errors import HarmostError
from harmost.client.retry import TRIES_MAX, Repeat, delay_s

UNAVAILABLE = HarmostError("x", code=grpc.StatusCode.UNAVAILABLE)
PROVIDERS = HarmostError("x", code=grpc.StatusCode.UNAVAILABLE, reason="PROVIDER_FAILED")
THROTTLED = HarmostError("x", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1.0)
EXHAUSTED = HarmostError("x", code=grpc.StatusCode.RESOURCE_EXHAUSTED)
DENIED = HarmostError("x", code=grpc.StatusCode.PERMISSION_DENIED)


def may(error: HarmostError, repeat: Repeat, *, tries: int = 1, remaining_s: float = 60) -> bool:
    found = delay_s(error, repeat=repeat, tries=tries, remaining_s=remaining_s, dice=0.5)
    return found is not None


@pytest.mark.parametrize(
    ("error", "keyed", "read"),
    [
        (UNAVAILABLE, True, True),
        (PROVIDERS, False, False),
        (THROTTLED, True, False),
        (EXHAUSTED, False, False),
        (DENIED, False, False),
    ],
)
def test_only_what_the_contract_allows_is_made_again(
    error: HarmostError, keyed: bool, read: bool
) -> None:
    assert may(error, Repeat.KEYED) is keyed
    assert may(error, Repeat.READ) is read
    assert not may(error, Repeat.NEVER)


def test_tries_are_bounded() -> None:
    assert may(UNAVAILABLE, Repeat.READ, tries=TRIES_MAX - 1)
    assert not may(UNAVAILABLE, Repeat.READ, tries=TRIES_MAX)


def test_a_wait_that_outlasts_the_deadline_is_not_begun() -> None:
    assert not may(THROTTLED, Repeat.KEYED, remaining_s=0.9)


def test_the_servers_moment_is_never_hurried() -> None:
    found = delay_s(THROTTLED, repeat=Repeat.KEYED, tries=1, remaining_s=60, dice=0.0)
    assert found == 1.0


def test_backoff_grows_and_is_jittered() -> None:
    delays = [
        delay_s(UNAVAILABLE, repeat=Repeat.READ, tries=tries, remaining_s=60, dice=dice)
        for tries in (1, 2, 3)
        for dice in (0.0, 1.0)
    ]
    assert delays == pytest.approx([0.05, 0.1, 0.1, 0.2, 0.2, 0.4])
