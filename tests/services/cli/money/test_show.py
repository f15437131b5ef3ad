"""How `harmost budget show` draws a limit of a minute: as a bucket, not as a window."""

from datetime import UTC, datetime

from harmost.budget.v1 import budget_pb2 as pb
from harmost.services.cli.money.burn import Burn, Forecast
from harmost.services.cli.money.show import _burn_line, _forecast, _left, _line

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def minute(available: int, **more: int) -> pb.Budget:
    return pb.Budget(
        name="calls",
        node="tenant:acme",
        unit=pb.UNIT_REQUESTS,
        window=pb.WINDOW_MINUTE,
        limit=60,
        settled=7,
        rate=pb.Rate(available=available, **more),
    )


def test_a_rate_tells_what_is_there_now() -> None:
    line = _line(minute(15, lent_per_minute=45, lent_burst=30))
    assert "60 requests a minute, 15 requests of it there now, 7 requests used this minute" in line
    assert "Routers refill themselves with 45 requests" in line
    assert " 75.0%" in line
    assert _left(minute(15)) == 15


def test_a_rate_that_owes_says_so() -> None:
    assert "owes 5 requests" in _line(minute(-5))


def test_a_rate_is_never_used_up_for_good() -> None:
    assert _forecast(minute(0), {}, NOW) == Forecast(None)
    burning = Burn((0,) * 59 + (60,), 3_600)
    assert "starts anew" not in _burn_line(minute(0), burning, Forecast(None), NOW)


def test_a_limit_that_is_no_rate_is_drawn_as_before() -> None:
    budget = pb.Budget(name="d", unit=pb.UNIT_REQUESTS, window=pb.WINDOW_DAY, limit=60, settled=7)
    assert "7 requests of 60 requests a day" in _line(budget)
