"""Starts the services in order, keeps them running, drains them in order.

Start: sandbox and policy, then the first documents, then budget and telemetry, then the router.
End: the router's workers first, so that running streams end while all that they need still runs.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harmost.core.errors import InvalidInput
from harmost.services.addresses import split_address
from harmost.services.operate.audit_keys import SIGNING_KEY as SIGNING_AUDIT_KEY
from harmost.services.operate.audit_keys import audit_keys
from harmost.services.operate.endpoints import ADMIN_KEY, SERVICES, Endpoints
from harmost.services.operate.policy_keys import SIGNING_KEY, VERIFY_KEYS, policy_keys
from harmost.services.supervisor import premises
from harmost.services.supervisor.bootstrap import prepare
from harmost.services.supervisor.child import Child
from harmost.services.supervisor.health import wait_until_healthy
from harmost.services.supervisor.logs import LogFile, Terminal

__all__ = ["Plan", "Supervisor", "endpoints_for", "run", "worker"]

START_S = 30.0
ROUTER_GRACE_S = 10.0
OTHERS_GRACE_S = 3.0
# Beyond the grace of its running calls a service needs a moment to close its files.
MARGIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to run: where, from which files."""

    data_dir: Path
    endpoints: Endpoints
    transport: str = "wire"
    examples: tuple[Path, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_listen: bool = False
    verbose: bool = False

    @property
    def tls_ca(self) -> Path | None:
        """What our own calls trust."""
        return Path(self.endpoints.tls_ca) if self.endpoints.tls_ca else None

    def processes(self) -> dict[str, str]:
        """The address at which each process that is to run is reached alone."""
        known = _addresses(self.endpoints)
        others = {service: known[service] for service in SERVICES[1:] if known[service]}
        return others | {
            worker(number): address for number, address in enumerate(self.endpoints.workers)
        }

    def listens(self) -> dict[str, str]:
        """Every address that must be free."""
        others = {"metrics": self.endpoints.metrics} if self.endpoints.metrics else {}
        return {"router": self.endpoints.router, **self.processes(), **others}

    def command(self, name: str, key_file: Path) -> list[str]:
        """The command line of the process called `name`."""
        known = self.endpoints
        service, _, number = name.partition("-")
        words = [sys.executable, "-m", "harmost.services.cli", service, "--supervised"]
        words += ["--listen", _addresses(known)[service]]
        words += ["--data", str(self.data_dir / service)]
        if service == "sandbox":
            return words
        words += ["--service-key-file", str(key_file), "--transport", self.transport]
        words += ["--admin-key-file", str(self.data_dir / ADMIN_KEY)]
        words += ["--grace", str(ROUTER_GRACE_S if service == "router" else OTHERS_GRACE_S)]
        words += _flag("--tls-cert", self.tls_cert) + _flag("--tls-key", self.tls_key)
        if service == "policy":
            words += ["--policy-signing-key", str(self.data_dir / SIGNING_KEY)]
            words += ["--telemetry", known.telemetry, *_flag("--tls-ca", self.tls_ca)]
        else:
            words += ["--policy", known.policy, *_flag("--tls-ca", self.tls_ca)]
            words += ["--policy-verify-key", str(self.data_dir / VERIFY_KEYS)]
        if service == "telemetry":
            words += ["--budget", known.budget, "--metrics-listen", known.metrics]
            words += [word for each in known.workers for word in ("--router", each)]
        if service in ("budget", "router"):
            words += ["--deployment", premises.deployment(self.data_dir)]
        if service == "telemetry":
            words += ["--audit-signing-key", f"file:{self.data_dir / SIGNING_AUDIT_KEY}"]
            words += ["--audit-origin", premises.audit_origin(self.data_dir)]
        if service == "router":
            words += ["--budget", known.budget, "--telemetry", known.telemetry]
            words += ["--worker", number, "--workers", str(len(known.workers))]
            words += ["--own-listen", known.workers[int(number)]]
            words += ["--insecure-listen"] if self.insecure_listen else []
        return words


def worker(number: int) -> str:
    """The process name of the Router's worker `number`."""
    return f"router-{number}"


def endpoints_for(
    *,
    host: str,
    port: int,
    sandbox: bool,
    tls_ca: Path | None,
    previous: Endpoints | None = None,
    routers: int = 1,
) -> Endpoints:
    """Six addresses from `port` on, then each worker's own; only the router's is on `host`.

    0: any that are free, those of the run before where they still are.
    """
    count = len(SERVICES) + 1 + routers
    if port == 0:
        ports = _ports_again(previous, count) or premises.free_ports(count, host)
    else:
        ports = [port + i for i in range(count)]
    split_address(f"{_bracketed(host)}:{ports[-1]}")
    hosts = [_bracketed(host)] + ["127.0.0.1"] * (count - 1)
    router, policy, budget, telemetry, provider, metrics, *workers = (
        f"{where}:{number}" for where, number in zip(hosts, ports, strict=True)
    )
    return Endpoints(
        router=router,
        policy=policy,
        budget=budget,
        telemetry=telemetry,
        sandbox=provider if sandbox else "",
        metrics=metrics,
        tls_ca=str(tls_ca.absolute()) if tls_ca else "",
        workers=tuple(workers),
    )


class Supervisor:
    """Runs `plan` inside `running`; `children` are by name of service."""

    def __init__(self, plan: Plan, say: Callable[[str, str], None]) -> None:
        self.plan = plan
        self.children: dict[str, Child] = {}
        self._say = say
        self._started: set[str] = set()

    @asynccontextmanager
    async def running(self, commands: Mapping[str, list[str]]) -> AsyncGenerator[None, None]:
        """Watch one process for each of `commands`, none of them started yet; at the end, drain."""
        logs = self.plan.data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        files = {name: LogFile(logs / f"{name}.log") for name in commands}
        self.children = {
            name: Child(name, command, log=files[name], say=self._say, loud=self.plan.verbose)
            for name, command in commands.items()
        }
        try:
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    yield
                finally:
                    await self._drain()
        finally:
            for file in files.values():
                file.close()

    async def start(self, *names: str) -> None:
        """Start the named services that are in the plan and wait until each serves."""
        wanted = [self.children[name] for name in names if name in self.children]
        for child in wanted:
            (self.plan.data_dir / _service(child)).mkdir(mode=0o700, exist_ok=True)
            self._tasks.create_task(child.keep(), name=f"supervisor.{child.name}")
            self._started.add(child.name)
        addresses = self.plan.processes()
        async with asyncio.TaskGroup() as waits:
            for child in wanted:
                waits.create_task(
                    wait_until_healthy(
                        child,
                        addresses[child.name],
                        http=child.name == "sandbox",
                        tls_ca=self.plan.tls_ca,
                        timeout_s=START_S,
                    )
                )

    def kill(self) -> None:
        """End every process at once."""
        for child in self.children.values():
            child.kill()

    async def _drain(self) -> None:
        started = [child for child in self.children.values() if child.name in self._started]
        for group in (
            [child for child in started if _service(child) == "router"],
            [child for child in started if _service(child) != "router"],
        ):
            async with asyncio.TaskGroup() as stops:
                for child in group:
                    grace_s = ROUTER_GRACE_S if _service(child) == "router" else OTHERS_GRACE_S
                    stops.create_task(child.stop(grace_s=grace_s + MARGIN_S))


async def run(plan: Plan, announce: Callable[[list[str]], None]) -> None:
    """Run everything in `plan` until SIGINT or SIGTERM. `announce` is called once, when all serve."""
    terminal = Terminal()
    try:
        with premises.held(plan.data_dir):
            premises.check_free(plan.listens())
            key_file = premises.service_key(plan.data_dir)
            premises.admin_key(plan.data_dir)
            policy_keys(plan.data_dir)
            audit_keys(plan.data_dir, origin=premises.audit_origin(plan.data_dir))
            supervisor = Supervisor(plan, terminal.say)
            stop = _stop_on_signals(supervisor, terminal.say)
            commands = {name: plan.command(name, key_file) for name in plan.processes()}
            async with supervisor.running(commands):
                starting = asyncio.create_task(_start(supervisor, key_file, announce))
                stopping = asyncio.create_task(stop.wait())
                try:
                    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
                    if not stop.is_set():
                        await starting  # raises what went wrong
                        await stopping
                finally:
                    await _cancelled(starting, stopping)
    finally:
        terminal.close()


async def _start(
    supervisor: Supervisor, key_file: Path, announce: Callable[[list[str]], None]
) -> None:
    plan = supervisor.plan
    previous = Endpoints.read(plan.data_dir)
    await supervisor.start("sandbox", "policy")
    said = await asyncio.to_thread(
        prepare,
        endpoints=plan.endpoints,
        previous=previous,
        examples=plan.examples,
        service_key=key_file.read_text(encoding="ascii").strip(),
        tls_ca=plan.tls_ca,
    )
    plan.endpoints.write(plan.data_dir)
    await supervisor.start("budget", "telemetry")
    await supervisor.start(*(worker(number) for number in range(len(plan.endpoints.workers))))
    announce(said)


def _stop_on_signals(supervisor: Supervisor, say: Callable[[str, str], None]) -> asyncio.Event:
    """Set at the first SIGINT or SIGTERM; the second one kills every process."""
    stop = asyncio.Event()

    def heard(name: str) -> None:
        if stop.is_set():
            say("up", f"{name} again: killing all")
            supervisor.kill()
            return
        say("up", f"{name}: draining, the router first; once more kills")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard, number.name)
    return stop


async def _cancelled(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _ports_again(previous: Endpoints | None, count: int) -> list[int]:
    if previous is None:
        return []
    known = _addresses(previous)
    services = [known[service] for service in SERVICES]
    again = [*services, previous.metrics, *previous.workers][:count]
    if not all(again):
        return []
    try:
        premises.check_free({address: address for address in again})
    except InvalidInput:
        return []
    more = premises.free_ports(count - len(again), "127.0.0.1")
    return [split_address(address)[1] for address in again] + more


def _addresses(endpoints: Endpoints) -> dict[str, str]:
    known: dict[str, str] = msgspec.to_builtins(endpoints)
    return known


def _service(child: Child) -> str:
    """The service that a process runs; "router" for each of its workers."""
    return child.name.partition("-")[0]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _flag(name: str, value: Path | None) -> list[str]:
    return [name, str(value.absolute())] if value else []
