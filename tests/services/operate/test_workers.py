"""What two answers of a worker tell, and what is shown of one that gives none."""

import socket

from harmost.router.v1 import router_pb2
from harmost.services.operate.workers import Workers, worker_of

S = 1_000_000_000


def answer(
    uptime_s: int, *, pid: int = 7, calls: int = 0, slow: int = 0
) -> router_pb2.GetStatsResponse:
    histogram = [0] * 128
    histogram[40] = slow  # 2^10 us
    return router_pb2.GetStatsResponse(
        router_id="router-0",
        pid=pid,
        uptime_ns=uptime_s * S,
        calls=calls,
        deltas=10 * calls,
        added_histogram=histogram,
    )


def test_rates_are_taken_between_two_answers() -> None:
    worker = worker_of("a:1", answer(10, calls=100), answer(14, calls=120, slow=3))
    assert (worker.calls_per_s, worker.tokens_per_s) == (5.0, 50.0)
    assert 1_000_000 <= worker.added_p99_ns <= 1_300_000


def test_a_worker_that_was_started_again_counts_from_its_start() -> None:
    worker = worker_of("a:1", answer(10, calls=100), answer(2, pid=8, calls=6))
    assert worker.calls_per_s == 3.0


def test_without_calls_there_is_no_percentile() -> None:
    assert worker_of("a:1", None, answer(1)).added_p99_ns == 0


def test_a_worker_that_does_not_answer_is_a_row_with_its_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Workers([address], key="k", tls_ca=None) as workers:
            found = workers.read()
    assert [(worker.address, worker.router_id) for worker in found] == [(address, "")]
    assert "nothing answers" in found[0].error
