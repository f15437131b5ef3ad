"""How many governed streams and calls does a Router carry, at what cost and delay?

On the back of an envelope: a token is one small frame in and one out. The kernel takes 2 to 9 us of
it, HTTP/2 on both sides 4, all else must fit into the rest of the goals: 9 us at 3,000 streams over
HTTP/2, 14 over HTTP/1.1. A call has no such floor: it decides, holds, journals and settles.

`make bench-load` runs it whole (at most ten minutes), `ARGS=--quick` in one, `ARGS=--baseline` under
names that later runs do not replace. docs/load.md tells what is measured how, and what limits it.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import run as merging
from _result import emit
from attack import under_attack
from documents import HTTP2_DECLARED
from pictures import draw_delay, draw_flame, shares
from rig import ROOT, Rig, Window, compiled, rig
from table import print_streams, print_unary

LIMIT_S = 600.0
UNARY_TOKENS, UNARY_OPEN_MAX = 8, 64
LONG = 50_000  # tokens of a stream that outlasts its window
PROBES_PER_S = 25  # a time to first token each; few, since each is a whole call
PROFILED_FILES = 30
UPSTREAMS = ("h1", "h2") if HTTP2_DECLARED else ("h1",)


@dataclass
class Suite:
    """One run: how long things take, what was found."""

    programs: Path
    prefix: str
    quick: bool
    only: str
    begin_s: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    streams: list[tuple[str, Window]] = field(default_factory=list)
    unary: list[tuple[str, float, Window]] = field(default_factory=list)
    levels: dict[str, list[Window]] = field(default_factory=dict)

    @property
    def count_s(self) -> float:
        return 2.0 if self.quick else 4.0

    def row(self, name: str, value: float, unit: str, n: int) -> None:
        """Print one measurement and keep it for benchmarks/results."""
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            emit(f"load.{self.prefix}{name}", value, unit, n)
        print(text.getvalue(), end="", flush=True)
        self.rows.append(json.loads(text.getvalue()))

    def say(self, text: str) -> None:
        """Progress, for people."""
        print(f"[{time.monotonic() - self.begin_s:4.0f} s] {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def mesh(self, **settings: Any) -> Iterator[Rig]:
        """A mesh for one part of the run."""
        self.say(f"starting a mesh: {settings or 'wire, governed'}")
        with rig(self.programs, **settings) as running:
            yield running

    def part(self, name: str, run: Callable[..., None], *args: Any, **settings: Any) -> None:
        """Run one part unless it was not asked for or time is over; a failure is told, not hidden."""
        if not name.startswith(self.only):
            return
        if time.monotonic() - self.begin_s > LIMIT_S * 0.9:
            self.say(f"left out, time is over: {name}")
            return
        self.say(name)
        try:
            run(*args, **settings)
        except (RuntimeError, AssertionError, OSError, StopIteration) as error:
            self.say(f"FAILED {name}: {error}")

    # -- streams --

    def hold_levels(self, mesh: Rig, label: str, upstream: str, levels: tuple[int, ...]) -> None:
        """Hold each number of streams; then once more with probes, for the time to first token."""
        windows = mesh.load(
            upstream,
            streams=",".join(map(str, levels)),
            tokens=LONG,
            count_s=self.count_s,
            probe_per_s=PROBES_PER_S,
            settle_s=10 if self.quick else 45,
        )
        name = f"{label}{upstream}"
        plain = [window for window in windows if not window.raw["probing"]]
        probed = {window.streams: window for window in windows if window.raw["probing"]}
        for window in plain:
            window.raw["ttft_ms"] = probed[window.streams].raw["ttft_ms"]
            self.streams.append((name, window))
            key, n = f"{name}.{window.streams}", window.tokens
            self.row(f"{key}.cpu_us_per_token", window.router_us_per_token, "us", n)
            self.row(f"{key}.delay_p50_ms", window.ms("delay", "p50"), "ms", n)
            self.row(f"{key}.delay_p99_ms", window.ms("delay", "p99"), "ms", n)
            probes = int(window.raw["ttft_ms"]["n"])
            self.row(f"{key}.ttft_p99_ms", window.ms("ttft", "p99"), "ms", probes)
            self.row(f"{key}.rss_mb", window.rss_mb, "MB", 1)
            self.row(f"{key}.tokens_per_s", window.tokens / window.seconds, "1/s", n)
        self.levels[name] = plain

    def turnover(self, mesh: Rig, label: str, upstream: str, streams: int) -> None:
        """Calls of 200 tokens that begin and end all the time: token and call together."""
        (window,) = mesh.load(
            upstream,
            streams=streams,
            tokens=200,
            even=1,
            count_s=self.count_s,
            warm_s=2,
            settle_s=40,
        )
        key = f"turnover.{label}{upstream}.{streams}"
        self.streams.append((f"turnover {label}{upstream}", window))
        self.row(f"{key}.cpu_us_per_token", window.router_us_per_token, "us", window.tokens)
        self.row(f"{key}.tokens_per_s", window.tokens / window.seconds, "1/s", window.tokens)
        self.row(f"{key}.delay_p99_ms", window.ms("delay", "p99"), "ms", window.tokens)
        self.row(f"{key}.ttft_p99_ms", window.ms("ttft", "p99"), "ms", int(window.raw["begun"]))

    def connections(self, mesh: Rig, upstream: str, streams: int) -> None:
        """The same streams over few connections and over many."""
        for connections in (1, 4, 64, streams):
            (window,) = mesh.load(
                upstream,
                streams=streams,
                tokens=LONG,
                connections=connections,
                count_s=self.count_s / 2,
                settle_s=15,
            )
            self.streams.append((f"{connections} connections {upstream}", window))
            key = f"connections.{upstream}.{connections}"
            self.row(f"{key}.cpu_us_per_token", window.router_us_per_token, "us", window.tokens)
            self.row(f"{key}.delay_p99_ms", window.ms("delay", "p99"), "ms", window.tokens)

    def skew(self, upstream: str, streams: int) -> None:
        """Busiest over mean worker: the kernel deals 64 connections to two workers."""
        with self.mesh(governed=False, routers=2) as mesh:
            (window,) = mesh.load(
                upstream, streams=streams, tokens=LONG, connections=64, count_s=self.count_s
            )
            workers = {pid for pid, name in mesh.pids().items() if name == "router"}
        spent = [window.raw["cpu_us"][str(pid)] for pid in workers]
        self.streams.append((f"two workers {upstream}", window))
        self.row("worker_skew", max(spent) * len(spent) / sum(spent), "ratio", len(spent))

    # -- calls --

    def calls(self, mesh: Rig, label: str, upstream: str) -> None:
        """Unary calls at rates that double until the mesh cannot keep up."""
        best: Window | None = None
        highest, rate = 0.0, 32.0
        while rate <= 32_768:
            (window,) = mesh.load(
                upstream,
                unary=True,
                rate=rate,
                streams=UNARY_OPEN_MAX,
                tokens=UNARY_TOKENS,
                pace_us=0,
                warm_s=1,
                count_s=1.0 if self.quick else 2.0,
            )
            self.unary.append((f"{label}{upstream}", rate, window))
            highest = max(highest, window.answered / window.seconds)
            if best is None or window.answered >= 0.95 * rate * window.seconds:
                best = window
            if window.answered < 0.9 * rate * window.seconds:
                break
            rate *= 4 if self.quick else 2
        if best is None or not best.answered:
            raise RuntimeError("no call was answered")
        key, n = f"{label}unary", best.answered
        self.row(f"{key}.cpu_us", best.cpu_us["router"] / n, "us", n)
        for service in ("budget", "policy", "telemetry"):
            self.row(f"{key}.{service}.cpu_us", best.cpu_us.get(service, 0.0) / n, "us", n)
        self.row(f"{key}.calls_per_s", highest, "1/s", n)
        self.row(f"{key}.latency_p99_ms", best.ms("latency", "p99"), "ms", n)

    # -- bad clients --

    def attack(self, mesh: Rig, upstream: str) -> None:
        """p99 of well-behaved streams during an attack over before it."""
        found = under_attack(mesh, upstream, streams=200, calls=2_000, count_s=self.count_s)
        before = max(found["before"].ms("delay", "p99"), 0.001)
        for kinds, window in found.items():
            self.streams.append((f"attack: {kinds}", window))
            if kinds != "before":
                key = f"attack.{kinds}." if " " not in kinds else "attack."
                ratio = window.ms("delay", "p99") / before
                self.row(f"{key}p99_ratio", ratio, "ratio", window.tokens)
                self.row(f"{key}delay_p99_ms", window.ms("delay", "p99"), "ms", window.tokens)
                self.row(f"{key}failed", sum(window.errors.values()), "calls", window.tokens)

    # -- conclusions --

    def ratios(self) -> None:
        """wire against grpcio, measured in this one run, at the most streams that both held."""
        found = {row["name"].removeprefix(f"load.{self.prefix}"): row for row in self.rows}

        def ratio(name: str, over: str, under: str) -> None:
            if over in found and under in found and found[under]["value"]:
                value = found[over]["value"] / found[under]["value"]
                self.row(f"ratio_vs_grpcio.{name}", value, "ratio", found[over]["n"])

        ratio("unary_cpu", "grpcio.unary.cpu_us", "unary.cpu_us")
        for upstream in UPSTREAMS:
            for streams in (1_000, 100):
                key = f"{upstream}.{streams}.cpu_us_per_token"
                if f"grpcio.{key}" in found and key in found:
                    ratio(f"token_cpu_{upstream}", f"grpcio.{key}", key)
                    break

    def run(self) -> None:
        """Everything, in the order of what matters most should time run out."""
        levels = (100, 300) if self.quick else (100, 1_000, 2_000, 3_000)
        best = UPSTREAMS[-1]
        if self.wanted("levels", "unary", "turnover", "profile"):
            with self.mesh() as mesh:
                for upstream in UPSTREAMS:
                    self.part(f"levels {upstream}", self.hold_levels, mesh, "", upstream, levels)
                self.part("unary", self.calls, mesh, "", best)
                self.part("turnover", self.turnover, mesh, "", best, 100 if self.quick else 1_000)
                self.part("profile", self.profile, mesh, best)
                if self.quick:
                    self.part("attack", self.attack, mesh, best)
        if self.quick:
            return
        if self.wanted("grpcio"):
            with self.mesh(transport="grpcio") as mesh:
                for upstream in UPSTREAMS:
                    self.part(
                        f"grpcio levels {upstream}",
                        self.hold_levels,
                        *(mesh, "grpcio.", upstream, levels[:2]),
                    )
                self.part("grpcio unary", self.calls, mesh, "grpcio.", best)
        if self.wanted("ungoverned", "connections"):
            with self.mesh(governed=False) as mesh:
                for upstream in UPSTREAMS:
                    self.part(
                        f"ungoverned levels {upstream}",
                        self.hold_levels,
                        *(mesh, "ungoverned.", upstream, (100, 1_000, 3_000)),
                    )
                self.part("ungoverned unary", self.calls, mesh, "ungoverned.", best)
                self.part("connections", self.connections, mesh, best, 1_000)
        if self.wanted("attack"):
            with self.mesh() as mesh:  # of its own: what it leaves behind is no one else's
                self.part("attack", self.attack, mesh, best)
        self.part("skew", self.skew, best, 1_000)
        self.ratios()

    def wanted(self, *names: str) -> bool:
        """Whether a part of these was asked for and there is time."""
        asked = any(name.startswith(self.only) or self.only.startswith(name) for name in names)
        return asked and time.monotonic() - self.begin_s < LIMIT_S * 0.9

    def profile(self, mesh: Rig, upstream: str) -> None:
        """Where the Router's time goes: a picture for a token, shares by file for a call."""
        if self.quick:
            return
        if not self.prefix:
            path = ROOT / "docs" / "flame-token.svg"
            draw_flame(mesh, upstream, path, streams=300, seconds=8)
        calls = {"unary": True, "tokens": UNARY_TOKENS, "pace_us": 0, "streams": 16}
        for what, load in (("token", {"streams": 300, "tokens": LONG}), ("call", calls)):
            found = shares(mesh, upstream, seconds=5, **load)
            self.say(f"the Router's time for a {what}, by file and what it calls:")
            for file, share in [row for row in found if row[1] < 0.995][:PROFILED_FILES]:
                print(f"    {share:6.1%}  {file}", file=sys.stderr)

    def finish(self) -> None:
        """Tables for people, rows for benchmarks/results, the plot."""
        print_streams(self.streams)
        print_unary(self.unary)
        merging.merge(self.rows)
        if not self.quick and not self.prefix and self.levels:
            draw_delay(self.levels, ROOT / "docs" / "load-delay.png")
        self.say("done")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute: fewer streams, wire only")
    parser.add_argument("--baseline", action="store_true", help="name rows load.baseline.…")
    parser.add_argument("--only", default="", help="parts whose name begins so")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(
            compiled(Path(folder)), "baseline." if asked.baseline else "", asked.quick, asked.only
        )
        try:
            suite.run()
        finally:
            suite.finish()


if __name__ == "__main__":
    main()
