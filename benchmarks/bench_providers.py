"""What does a vendor's format cost a call beyond the transport?

From a neutral request to the bytes and headers that are sent, and from the bytes of a streamed answer of
TOKENS pieces to the messages that the caller gets. The answer is what the vendor's fake in tests/fakes
says to this very request. Back of the envelope: the request 5 us; an event 0.5 us where a scanner of ours
reads it, 1.5 us where the vendor's reader does, of which there are two to five that are no piece of text.
"""

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from _result import emit

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from fakes.serve import Answer, Seen

from harmost.core.chat import Generation, Message
from harmost.core.providers.codec import HttpRequest, UpstreamRequest
from harmost.core.providers.registry import CODECS
from harmost.core.relay.exchange import AttemptExchange
from harmost.services.providers.endpoints import Endpoint

TOKENS = 30
CALLS = 3_000
WARMUP = 200
ADDRESS = "http://127.0.0.1:9"
MESSAGES = (Message.of("system", "Be brief."), Message.of("user", "How is it in Bern? " * 10))
FAKES = sorted(path.parent.name for path in (ROOT / "tests" / "fakes").glob("*/__init__.py"))


class Case(NamedTuple):
    """A vendor whose answer is TOKENS pieces of text."""

    endpoint: Endpoint
    request: UpstreamRequest
    pieces: Sequence[bytes]

    def sent(self) -> tuple[HttpRequest, dict[str, str]]:
        """What goes over the wire."""
        request = self.endpoint.codec.request(self.request)
        headers = {**self.endpoint.headers, **request.headers}
        url = urlsplit(self.endpoint.spec.base_url)
        secret = self.endpoint.credential.headers(
            self.endpoint.credential.grant,
            method="POST",
            authority=url.netloc,
            path=url.path + request.path,
            headers=headers,
            body=request.body,
        )
        return request, {**headers, **secret}

    def read(self) -> AttemptExchange:
        """The answer as it goes on to the caller."""
        exchange = AttemptExchange(
            self.endpoint.spec.codec, output_tokens_max=1_000, attempt_id="018f3c5e7a8b-4c2d9e1f"
        )
        for piece in self.pieces:
            exchange.receive(piece)
        exchange.finish()
        return exchange


def case(vendor: ModuleType) -> Case:
    """What the fake says, with one piece of text so often that it is TOKENS pieces."""
    spec = vendor.spec(ADDRESS)
    endpoint = Endpoint.of("bench", spec, environment=vendor.ENVIRONMENT)
    request = UpstreamRequest(
        vendor_model_id=vendor.MODEL,
        messages=MESSAGES,
        output_tokens_max=1_000,
        generation=Generation(),
    )
    said, headers = Case(endpoint, request, ()).sent()
    url = urlsplit(spec.base_url + said.path)
    seen = Seen(
        method="POST",
        path=unquote(url.path),
        query=dict(parse_qsl(url.query)),
        headers=headers,
        body=said.body,
        http_version="1.1",
        raw_path=url.path,
    )
    reply = vendor.FAKE(answer=Answer(text="several words")).reply(seen)
    assert reply.status == 200, (reply.status, reply.pieces)
    made = Case(endpoint, request, lengthened(spec.codec, reply.pieces))
    exchange = made.read()
    assert exchange.error is None, exchange.error
    assert exchange.deltas == TOKENS
    return made


def lengthened(codec: str, pieces: Sequence[bytes]) -> list[bytes]:
    """`pieces`, the first that holds text so often that they hold TOKENS in all."""
    exchange = AttemptExchange(codec, output_tokens_max=1_000, attempt_id="a")
    first = -1
    for number, piece in enumerate(pieces):
        exchange.receive(piece)
        if first < 0 and exchange.deltas == 1:
            first = number
    more = [pieces[first]] * (TOKENS - exchange.deltas)
    return [*pieces[:first], *more, *pieces[first:]]


def cpu_us(work: Any) -> list[float]:
    """CPU of each of CALLS calls of `work`, after some that do not count."""
    for _ in range(WARMUP):
        work()
    told: list[float] = []
    for _ in range(CALLS):
        begin = time.process_time_ns()
        work()
        told.append((time.process_time_ns() - begin) / 1e3)
    return told


def main() -> None:
    """Print JSON lines for each vendor."""
    empty = median(cpu_us(lambda: None))
    measured: set[str] = set()
    for name in FAKES:
        vendor = importlib.import_module(f"fakes.{name}")
        if not hasattr(vendor, "MODEL"):
            continue  # no vendor of answers
        one = case(vendor)
        measured.add(one.endpoint.spec.codec)
        requests, answers = cpu_us(one.sent), cpu_us(one.read)
        whole = sorted(a + b - 2 * empty for a, b in zip(requests, answers, strict=True))
        emit(f"providers.{name}.overhead_us", median(whole), "us", CALLS)
        emit(f"providers.{name}.overhead_p99_us", quantiles(whole, n=100)[98], "us", CALLS)
        emit(f"providers.{name}.request_us", median(requests) - empty, "us", CALLS)
        emit(f"providers.{name}.answer_us", median(answers) - empty, "us", CALLS)
    assert measured == set(CODECS), f"no fake for {set(CODECS) - measured}"


if __name__ == "__main__":
    main()
