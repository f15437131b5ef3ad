"""Wires each service: the only place that knows how the parts fit. `run` is what the CLI calls.

What one service alone needs is imported where it is wired: every other starts, and after a kill comes
back, without.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import uvloop

from harmost.core.budget.nodes import BudgetLimits, compile_limits
from harmost.core.errors import HarmostError, InvalidInput
from harmost.core.policy.revocations import Revocations
from harmost.core.resources.kinds import ProviderSpec
from harmost.core.resources.snapshot import CompiledSnapshot
from harmost.services.collector import collecting
from harmost.services.interceptors.authenticate import authenticator
from harmost.services.interceptors.gate import Authenticate, Gate
from harmost.services.settings import Settings
from harmost.services.snapshots.holder import Listener
from harmost.services.snapshots.keys import read_signer, verifier_of
from harmost.services.snapshots.watcher import SnapshotWatcher
from harmost.services.transport import GrpcServer, Transport, bearer, channel
from harmost.services.wire.tls import TlsFiles

if TYPE_CHECKING:
    from harmost.services.policy.replay import ReadVectors
    from harmost.services.router.attempt import AttemptTools
    from harmost.services.router.orphans import Books
    from harmost.services.telemetry.otel.otel import Otel
    from harmost.services.telemetry.otel.vendors import Vendors
    from harmost.services.telemetry.store import TelemetryStore
    from harmost.services.upstream.upstream import Upstream

__all__ = ["SERVICES", "run"]

log = logging.getLogger(__name__)

KEY_CHARS_MIN = 32

Register = Callable[[grpc.aio.Server], str]


def run(service: str, settings: Settings) -> int:
    """Serve `service` until SIGINT or SIGTERM, then drain; the exit status. Raises `HarmostError`."""
    try:
        uvloop.run(_serve(service, settings))
    except BaseExceptionGroup as group:  # what is raised inside a task group's block comes wrapped
        raise _first(group) from None
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that matters: ours if there is one, else whatever came first."""
    ours, _ = group.split(HarmostError)
    error: BaseException = ours if ours is not None else group
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _serve(service: str, settings: Settings) -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_run(service, settings, started, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not started.is_set():
        running.cancel()  # still waiting for what it needs: there is nothing to drain
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _run(
    service: str, settings: Settings, started: asyncio.Event, stop: asyncio.Event
) -> None:
    async with SERVICES[service](settings), collecting():
        started.set()
        await stop.wait()
        log.info("draining for at most %.0f s", settings.grace_s)


@asynccontextmanager
async def _policy(settings: Settings) -> AsyncGenerator[None]:
    from harmost.policy.v1 import policy_pb2_grpc
    from harmost.services.policy.service import PolicyServicer
    from harmost.services.policy.store import PolicyStore

    if settings.policy_signing_key is None:
        raise InvalidInput(
            "no policy signing key: give `--policy-signing-key`, or run all with `harmost up`"
        )
    signer = read_signer(settings.policy_signing_key)
    _service_key(settings)  # before any file is made
    async with AsyncExitStack() as stack:
        store = stack.enter_context(
            contextlib.closing(PolicyStore(settings.data_dir / "policy.db"))
        )
        vectors = await stack.enter_async_context(_vectors(settings))
        servicer = PolicyServicer(store, signer, read_vectors=vectors)
        await stack.enter_async_context(servicer.running())

        def register(server: grpc.aio.Server) -> str:
            policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)
            return "harmost.policy.v1.PolicyService"

        keys = _authenticate(settings, servicer.current, servicer.revocations)
        await stack.enter_async_context(_serving(settings, register, keys, drain=servicer.drain))
        yield


@asynccontextmanager
async def _vectors(settings: Settings) -> AsyncGenerator["ReadVectors | None"]:
    """How Policy reads what decisions were made on; None where it was not told whom to ask."""
    if not settings.telemetry_address:
        yield None
        return
    from harmost.services.policy.vectors import vectors_of

    async with channel(settings.telemetry_address, ca=settings.tls_ca) as telemetry:
        yield vectors_of(telemetry, bearer(_service_key(settings)))


@asynccontextmanager
async def _budget(settings: Settings) -> AsyncGenerator[None]:
    from harmost.budget.v1 import budget_pb2_grpc
    from harmost.services.budget.service import BudgetServicer
    from harmost.services.budget.store import BudgetStore

    _service_key(settings)  # before any file is made
    async with AsyncExitStack() as stack:
        store = stack.enter_context(
            contextlib.closing(
                BudgetStore(settings.data_dir / "budget.db", deployment=settings.deployment)
            )
        )
        snapshots = await stack.enter_async_context(_snapshots(settings, "budget"))
        servicer = BudgetServicer(store, snapshots, revocations=snapshots.revocations)
        await stack.enter_async_context(servicer.running())

        def register(server: grpc.aio.Server) -> str:
            budget_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server)
            return "harmost.budget.v1.BudgetService"

        keys = _authenticate(settings, snapshots.current, snapshots.revocations)
        await stack.enter_async_context(
            _serving(settings, register, keys, ready=snapshots.ready, drain=servicer.drain)
        )
        yield


@asynccontextmanager
async def _telemetry(settings: Settings) -> AsyncGenerator[None]:
    from harmost.services.telemetry.kept import kept_store
    from harmost.services.telemetry.otel.vendors import Vendors
    from harmost.services.telemetry.service import TelemetryServicer
    from harmost.telemetry.v1 import telemetry_pb2_grpc

    _service_key(settings)  # before any file is made
    async with AsyncExitStack() as stack:
        vendors = Vendors()
        snapshots = await stack.enter_async_context(
            _snapshots(settings, "telemetry", lambda each: vendors.replace(_providers(each)))
        )
        kept = stack.enter_context(kept_store(settings, snapshots))
        otel = await stack.enter_async_context(_otel(settings, kept.store, vendors, snapshots))
        servicer = TelemetryServicer(kept.store, audit=kept.audit, otel=otel)
        await stack.enter_async_context(servicer.running())

        def register(server: grpc.aio.Server) -> str:
            telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, server)
            return "harmost.telemetry.v1.TelemetryService"

        keys = _authenticate(settings, snapshots.current, snapshots.revocations)
        await stack.enter_async_context(
            _serving(settings, register, keys, ready=snapshots.ready, drain=servicer.drain)
        )
        yield


@asynccontextmanager
async def _otel(
    settings: Settings, store: "TelemetryStore", vendors: "Vendors", snapshots: SnapshotWatcher
) -> AsyncGenerator["Otel"]:
    """Telemetry's OpenTelemetry, as the environment says, and whom it asks for levels."""
    from harmost.services.telemetry.otel.levels import Levels
    from harmost.services.telemetry.otel.meter import Meter
    from harmost.services.telemetry.otel.otel import Otel
    from harmost.services.telemetry.otel.settings import otel_settings

    meter = Meter(vendors)
    said = otel_settings(os.environ, prometheus=settings.metrics_listen)
    otel = Otel(said, store, vendors, meter)
    async with AsyncExitStack() as stack:

        async def reach(address: str) -> grpc.aio.Channel:
            return await stack.enter_async_context(channel(address, ca=settings.tls_ca))

        budget = await reach(settings.budget_address) if settings.budget_address else None
        routers = [(address, await reach(address)) for address in settings.router_addresses]
        levels = Levels(
            meter,
            budget=budget,
            routers=routers,
            metadata=bearer(_service_key(settings)),
            snapshots=snapshots,
        )
        otel.use(levels)
        yield otel


@asynccontextmanager
async def _router(settings: Settings) -> AsyncGenerator[None]:
    from harmost.router.v1 import router_pb2_grpc
    from harmost.services.providers.endpoints import Endpoints
    from harmost.services.router.mission import MissionTools
    from harmost.services.router.orphans import adopting
    from harmost.services.router.recovery import recover
    from harmost.services.router.service import RouterServicer
    from harmost.services.router.stats import Stats
    from harmost.services.upstream.client import upstream_client

    root, router_id = settings.data_dir, settings.router_id
    settings = replace(settings, data_dir=root / router_id)  # the slot: ours alone
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(upstream_client())
        books = await stack.enter_async_context(_books(settings, upstream))
        attempt_tools = await stack.enter_async_context(books(settings.data_dir))
        endpoints = Endpoints()
        await stack.enter_async_context(endpoints.running())

        async def changed(snapshot: CompiledSnapshot) -> None:
            await endpoints.replace(_providers(snapshot))
            attempt_tools.budget.use(_limits(snapshot))

        snapshots = await stack.enter_async_context(_snapshots(settings, router_id, changed))
        tools = MissionTools(attempt_tools, endpoints, router_id, Stats())
        servicer = RouterServicer(snapshots=snapshots, tools=tools, tls=_tls(settings) is not None)
        await stack.enter_async_context(servicer.running())
        await snapshots.ready(None)
        await recover(tools.attempt, endpoints)
        workers = [f"{settings.router_name}-{slot}" for slot in range(settings.slots)]
        await stack.enter_async_context(adopting(root, workers, books, endpoints))

        def register(server: grpc.aio.Server) -> str:
            router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)
            return "harmost.router.v1.RouterService"

        keys = _authenticate(settings, snapshots.current, snapshots.revocations)
        await stack.enter_async_context(_serving(settings, register, keys))
        yield


@asynccontextmanager
async def _books(settings: Settings, upstream: "Upstream") -> "AsyncGenerator[Books]":
    """How a slot's books are opened: its journal, and what ships and pays from it."""
    from harmost.services.journal.journal import Journal
    from harmost.services.journal.shipper import Shipper
    from harmost.services.router.attempt import AttemptTools
    from harmost.services.router.budget import BudgetClient
    from harmost.services.router.tokenizer import Tokenizer

    metadata, tokenizer = bearer(_service_key(settings)), Tokenizer()
    async with (
        channel(settings.telemetry_address, ca=settings.tls_ca) as telemetry,
        channel(settings.budget_address, ca=settings.tls_ca) as ledger,
        tokenizer.running(),
    ):

        @asynccontextmanager
        async def books(slot: Path) -> "AsyncGenerator[AttemptTools]":
            journal = Journal(slot / "journal", settings.router_id, deployment=settings.deployment)
            shipper = Shipper(journal, telemetry, metadata=metadata)
            budget = BudgetClient(ledger, metadata=metadata, journal=journal, slot=slot)
            async with journal.running(), shipper.running(), budget.running():
                yield AttemptTools(journal, budget, upstream, tokenizer=tokenizer)

        yield books


@asynccontextmanager
async def _sandbox(settings: Settings) -> AsyncGenerator[None]:
    from harmost.services.sandbox.knobs import from_environment
    from harmost.services.sandbox.server import SandboxServer

    host, _, port = settings.listen.rpartition(":")
    log_path = settings.data_dir / "sandbox-billing.jsonl"
    server = SandboxServer(log_path, defaults=from_environment(os.environ))
    async with server.running(host.strip("[]"), int(port)):
        yield


SERVICES = {
    "policy": _policy,
    "budget": _budget,
    "telemetry": _telemetry,
    "router": _router,
    "sandbox": _sandbox,
}


@asynccontextmanager
async def _serving(
    settings: Settings,
    register: Register,
    authenticate: Authenticate,
    *,
    ready: Callable[[float | None], Awaitable[None]] | None = None,
    drain: Callable[[], None] = lambda: None,
) -> AsyncGenerator[None]:
    """Serve until the block ends, then drain.

    Health says SERVING after `ready`; `drain` ends the streams that have no end of their own.
    """
    server = GrpcServer(
        cast("Transport", settings.transport),  # Settings knows no other
        interceptor=Gate(authenticate),
        register=register,
        listen=settings.listen,
        tls=_tls(settings),
        shared_port=settings.slots > 1,
        own_listen=settings.own_listen,
    )
    await server.start()
    if ready is not None:
        await ready(None)
    await server.set_serving(True)
    log.info("serving on port %d", server.port)
    try:
        yield
    finally:
        drain()
        await server.stop(settings.grace_s)


@asynccontextmanager
async def _snapshots(
    settings: Settings, watcher_id: str, listener: Listener = lambda _: None
) -> AsyncGenerator[SnapshotWatcher]:
    """Watch Policy until the block ends; `listener` hears of each snapshot before it is current."""
    async with channel(settings.policy_address, ca=settings.tls_ca) as policy:
        watcher = SnapshotWatcher(
            policy,
            watcher_id=watcher_id,
            metadata=bearer(_service_key(settings)),
            verifier=verifier_of(settings.policy_verify_keys),
            cache_path=settings.data_dir / "snapshot.binpb",
        )
        watcher.on_change(listener)
        async with watcher.running():
            yield watcher


def _providers(snapshot: CompiledSnapshot) -> dict[str, ProviderSpec]:
    return {name: provider.spec for name, provider in snapshot.catalog.providers.items()}


def _limits(snapshot: CompiledSnapshot) -> BudgetLimits:
    budgets = snapshot.catalog.budgets
    return compile_limits({name: (each.metadata, each.spec) for name, each in budgets.items()})


def _authenticate(
    settings: Settings,
    snapshot: Callable[[], CompiledSnapshot],
    revocations: Callable[[], Revocations],
) -> Authenticate:
    admin = settings.admin_key_file
    return authenticator(
        service_key=_service_key(settings),
        admin_key=_secret(admin, "admin") if admin is not None else None,
        snapshot=snapshot,
        revocations=revocations,
    )


def _service_key(settings: Settings) -> str:
    path = settings.service_key_file
    if path is None:
        raise InvalidInput(
            "no service key: give `--service-key-file`, or run all with `harmost up`"
        )
    return _secret(path, "service")


def _secret(path: Path, what: str) -> str:
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the {what} key `{path}` cannot be read: {error}: name a file that holds it"
        ) from None
    if len(key) < KEY_CHARS_MIN:
        raise InvalidInput(
            f"the {what} key in `{path}` is shorter than {KEY_CHARS_MIN} characters: "
            "make a longer one"
        )
    return key


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(
        certificate=settings.tls_cert,
        key=settings.tls_key,
        client_ca=settings.tls_client_ca,
    )
