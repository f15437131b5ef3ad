"""A grant is renewed before it expires, kept until then, and never fetched again all the time."""

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.errors import NotPossibleNow
from harmost.services.providers.grants import Grant, Source


class World:
    """A clock that stands, and a place that gives tokens or does not."""

    def __init__(self, draw: Callable[[], float] = lambda: 0.5, lifetime_s: float = 1000) -> None:
        self.now_s = 5_000.0
        self.lifetime_s = lifetime_s
        self.broken: Exception | None = None
        self.given = 0
        self.source = Source("x:", self._fetch, clock=lambda: self.now_s, draw=draw)

    def _fetch(self) -> Grant:
        if self.broken is not None:
            raise self.broken
        self.given += 1
        return Grant((f"token-{self.given}",), self.now_s + self.lifetime_s)


@given(st.floats(0, 1), st.floats(2, 86_400))
def test_a_grant_is_renewed_when_a_fifth_of_its_life_is_left_at_least(
    draw: float, lifetime_s: float
) -> None:
    world = World(lambda: draw, lifetime_s)
    world.source.fetch()
    waits_s = world.source.due_s - world.now_s
    assert 0.69 * lifetime_s <= waits_s <= 0.81 * lifetime_s


def test_an_old_grant_is_good_until_it_expires_then_the_reason_is_told() -> None:
    world = World()
    assert world.source.fault == "no credentials from `x:` yet: try again in a moment"
    world.source.fetch()
    world.broken = NotPossibleNow("no answer")
    world.now_s += 999
    world.source.fetch()
    assert (world.source.fault, world.source.grant.secrets) == ("", ("token-1",))
    world.now_s += 1
    assert world.source.fault == "the credentials from `x:` have expired: no answer"
    world.broken = None
    world.source.fetch()
    assert (world.source.fault, world.source.grant.secrets) == ("", ("token-2",))


@given(st.integers(1, 2_000), st.floats(0, 1))
def test_failures_wait_longer_and_longer_to_a_bound(tries: int, draw: float) -> None:
    world = World(lambda: draw)
    world.broken = NotPossibleNow("no answer")
    for _ in range(min(tries, 20)):
        world.source.fetch()
    wait_s = world.source.due_s - world.now_s
    longest_s = min(60, 2 ** (min(tries, 20) - 1))
    assert longest_s / 2 <= wait_s <= longest_s


def test_what_a_library_says_when_it_breaks_is_not_told() -> None:
    world = World()
    world.broken = RuntimeError("token-1 is no good")
    world.source.fetch()
    assert world.source.fault == "no credentials from `x:`: RuntimeError"


def test_a_refused_grant_is_fetched_again_soon_but_not_one_that_was_replaced() -> None:
    world = World()
    world.source.fetch()
    first = world.source.grant
    due_s = world.source.due_s
    world.source.fetch()
    world.source.refused(first)
    assert world.source.due_s == due_s
    world.source.refused(world.source.grant)
    assert world.source.due_s == world.now_s + 5


def test_a_provider_that_refuses_everything_does_not_make_us_ask_all_the_time() -> None:
    world = World(lifetime_s=86_400)
    world.source.fetch()
    waits: list[float] = []
    for _ in range(9):
        world.source.refused(world.source.grant)
        due_s = world.source.due_s
        world.source.refused(world.source.grant)
        assert world.source.due_s == due_s  # once for each grant, however many calls it fails
        waits.append(due_s - world.now_s)
        world.now_s = due_s
        world.source.fetch()
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    world.source.fetch()  # nobody refused that one
    world.source.refused(world.source.grant)
    assert world.source.due_s == world.now_s + 5


def test_what_could_not_be_fetched_is_not_fetched_sooner_for_being_asked_for() -> None:
    world = World()
    world.broken = NotPossibleNow("no answer")
    for _ in range(9):
        world.source.fetch()
    due_s = world.source.due_s
    world.source.refused(world.source.grant)
    assert world.source.due_s == due_s


def test_a_key_is_fetched_once() -> None:
    source = Source("x:", lambda: Grant(("key",)))
    source.fetch()
    assert source.due_s == math.inf


def test_a_grant_is_not_told_by_its_repr() -> None:
    assert "key" not in f"{Grant(('key',))!r} {Grant(('key',))}"


def test_a_provider_without_credentials_has_no_fault() -> None:
    source = Source("", lambda: Grant(("",)))
    source.fetch()
    assert source.fault == ""
