"""Tokens are renewed beside the calls: before they expire, when they are revoked, and across snapshots."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from fakes.serve import Fake, Reply, Seen, serving
from token_server import PRIVATE_KEY, TokenServer, serving_tokens

from harmost.core.chat import Message
from harmost.core.providers.codec import ProviderError, UpstreamRequest
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint, Endpoints
from harmost.services.providers.grants import Grant
from harmost.services.providers.refresh import Refresher
from harmost.services.upstream.client import UpstreamClient, upstream_client


class Picky(Fake):
    """A provider that takes one token, and repeats any other."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = ""

    def reply(self, seen: Seen) -> Reply:
        shown = seen.headers.get("authorization", "")
        if shown != f"Bearer {self.takes}":
            error = {"error": {"message": f"bad credentials: {shown}", "type": "x"}}
            return Reply(401, {"content-type": "application/json"}, [json.dumps(error).encode()])
        data = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        return Reply(200, {"content-type": "text/event-stream"}, [data])


class _Sink:
    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.error: ProviderError | None = None

    def on_response(self, status: int, headers: object) -> None:
        """Any."""

    def on_data(self, data: bytes) -> None:
        """Any."""

    def on_end(self) -> None:
        self.over.set()

    def on_error(self, error: ProviderError) -> None:
        self.error = error
        self.over.set()


async def called(upstream: UpstreamClient, endpoint: Endpoint) -> ProviderError | None:
    """What one call ends with."""
    request = UpstreamRequest(
        vendor_model_id="m", messages=(Message.of("user", "hi"),), output_tokens_max=9
    )
    sink = _Sink()
    upstream.open(endpoint, endpoint.codec.request(request), attempt_id="a", sink=sink)
    await asyncio.wait_for(sink.over.wait(), 10)
    return sink.error


async def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    """Google's token server."""
    with serving_tokens() as server:
        yield server


@pytest.fixture
def google(tokens: TokenServer, tmp_path: Path) -> ProviderSpec:
    """A provider that a service account is known to."""
    file = {
        "type": "service_account",
        "client_email": "a@b",
        "private_key": PRIVATE_KEY,
        "token_uri": f"{tokens.url}/google/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(file))
    return ProviderSpec(
        codec="openai", base_url="http://127.0.0.1:1", credentials=f"google:{tmp_path}/account.json"
    )


@pytest.fixture
async def clock() -> list[float]:
    """What is added to the time of day."""
    return [0.0]


@pytest.fixture
async def endpoints(clock: list[float]) -> AsyncIterator[Endpoints]:
    """Endpoints that look for what is due all the time."""
    found = Endpoints(Refresher(tick_s=0.01, clock=lambda: time.time() + clock[0]))
    async with found.running():
        yield found


def token(endpoints: Endpoints) -> str:
    return endpoints.get("p").credential.grant.secrets[0].rpartition("-")[0]


async def test_a_token_is_renewed_before_it_expires(
    tokens: TokenServer, google: ProviderSpec, endpoints: Endpoints, clock: list[float]
) -> None:
    await endpoints.replace({"p": google})
    assert token(endpoints) == "token-1"
    kept = endpoints.as_now()
    clock[0] = 3600 * 0.69
    await asyncio.sleep(0.1)
    assert token(endpoints) == "token-1"
    clock[0] = 3600 * 0.81
    await until(lambda: token(endpoints) == "token-2")
    assert token(kept) == "token-2"  # a mission that runs for long calls with what is good


async def test_a_snapshot_keeps_the_tokens_of_the_one_before(
    tokens: TokenServer, google: ProviderSpec, endpoints: Endpoints
) -> None:
    other = ProviderSpec(codec="openai", base_url="http://h")
    await endpoints.replace({"p": google})
    for _ in range(3):
        await endpoints.replace({"p": google, "q": other, "r": google})
    assert tokens.given == 1
    assert endpoints.get("r").credential.grant is endpoints.get("p").credential.grant


async def test_a_token_that_nobody_uses_is_not_renewed(
    tokens: TokenServer, google: ProviderSpec, endpoints: Endpoints, clock: list[float]
) -> None:
    await endpoints.replace({"p": google})
    mission = [endpoints.as_now()]
    await endpoints.replace({})
    assert token(mission[0]) == "token-1"
    clock[0] = 3600 * 0.81
    await until(lambda: token(mission[0]) == "token-2")  # a mission goes on
    clock[0] = 0
    mission.clear()
    await asyncio.sleep(0.05)
    gc.collect()
    clock[0] = 1e9
    await asyncio.sleep(0.1)
    assert tokens.given == 2


async def test_a_server_that_fails_for_a_while_costs_no_call(
    tokens: TokenServer, google: ProviderSpec, endpoints: Endpoints, clock: list[float]
) -> None:
    await endpoints.replace({"p": google})
    tokens.broken = "invalid_grant"
    clock[0] = 3600 * 0.81
    await until(lambda: len(tokens.asked) > 1)
    assert (token(endpoints), endpoints.get("p").fault) == ("token-1", "")
    tokens.broken = ""
    await until(lambda: endpoints.get("p").credential.source.why != "")
    clock[0] += 60
    await until(lambda: token(endpoints) == "token-2")
    assert endpoints.get("p").fault == ""


async def test_a_snapshot_does_not_wait_for_a_server_that_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, google: ProviderSpec
) -> None:
    monkeypatch.setattr("harmost.services.providers.refresh._FIRST_WAIT_S", 0.1)
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    monkeypatch.setattr("harmost.services.providers.clouds.google.REQUEST_TIMEOUT_S", 0.5)
    file = json.loads((tmp_path / "account.json").read_text())
    file["token_uri"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    (tmp_path / "account.json").write_text(json.dumps(file))
    endpoints = Endpoints()
    async with endpoints.running():
        keyless = ProviderSpec(codec="openai", base_url="http://h")
        hang = {
            str(n): msgspec.structs.replace(google, auth_scope=f"https://h/{n}") for n in range(8)
        }
        await endpoints.replace({"p": google, **hang, "q": keyless})
        assert "yet: try again in a moment" in endpoints.get("p").fault
        assert endpoints.get("q").fault == ""  # however many hang
        await until(lambda: len(silent) > 0)
    for writer in silent:
        writer.close()
        await writer.wait_closed()
    server.close()


async def test_a_revoked_token_is_replaced_and_not_told(
    tokens: TokenServer, google: ProviderSpec, endpoints: Endpoints, clock: list[float]
) -> None:
    provider = Picky()
    async with serving(provider) as url, upstream_client() as upstream:
        await endpoints.replace({"p": msgspec.structs.replace(google, base_url=url)})
        endpoint = endpoints.get("p")
        provider.takes = endpoint.credential.grant.secrets[0]
        assert await called(upstream, endpoint) is None
        provider.takes = f"token-2-{'x' * 20}"
        error = await called(upstream, endpoint)
        assert error is not None
        assert (error.kind, error.message) == ("auth", "x: bad credentials: Bearer [secret]")
        clock[0] = 6
        await until(lambda: token(endpoints) == "token-2")
        assert await called(upstream, endpoint) is None


async def test_a_call_keeps_what_it_was_sent_with() -> None:
    provider = Picky()
    async with serving(provider) as url, upstream_client() as upstream:
        spec = ProviderSpec(codec="openai", base_url=url, credentials="env:KEY")
        endpoint = Endpoint.of("p", spec, environment={"KEY": "old-key-0815"})
        asyncio.get_running_loop().call_soon(
            setattr, endpoint.credential.source, "grant", Grant(("new-key-4711",))
        )
        error = await called(upstream, endpoint)
        assert error is not None
        assert error.message == "x: bad credentials: Bearer [secret]"
        assert [seen.headers["authorization"] for seen in provider.seen] == ["Bearer old-key-0815"]
        provider.takes = "new-key-4711"
        assert await called(upstream, endpoint) is None


async def test_a_file_that_has_changed_is_read_again_when_its_key_is_refused(
    tmp_path: Path, endpoints: Endpoints, clock: list[float]
) -> None:
    (tmp_path / "key").write_text("old-key-0815")
    provider = Picky()
    provider.takes = "new-key-4711"
    async with serving(provider) as url, upstream_client() as upstream:
        spec = ProviderSpec(codec="openai", base_url=url, credentials=f"file:{tmp_path}/key")
        await endpoints.replace({"p": spec})
        (tmp_path / "key").write_text("new-key-4711")
        error = await called(upstream, endpoints.get("p"))
        assert error is not None
        assert error.kind == "auth"
        clock[0] = 6
        await until(lambda: endpoints.get("p").credential.grant.secrets == ("new-key-4711",))
        assert await called(upstream, endpoints.get("p")) is None
