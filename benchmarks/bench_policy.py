"""What does a policy decision cost, and does it grow with the number of rules?

On the back of an envelope: a dozen facts are looked up by value, 50 ns each; their rows are ANDed, 1,337
lanes of 10,000 rules that are not about other tenants, 24 words by 20 rows; the rules that are left, some
ten, are combined and named: 2 us. 250 that match are 250 lines of memory to touch: 5 us more. Ten times the
rules are ten times the words of rows that fit into the cache.

`decide` is `Engine.decide` with ten prepared candidates: every matching rule named, the whole answer made.
`match` is the same without the answer as objects (`Engine.outcome`). Facts are fresh, as of a call that has
just come. CPU time of each call, less what reading the clock takes. Peers are asked for the rules that match
any of the ten candidates; each is checked against plain Python on the same requests.
"""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psutil
from _policy_peers import PEERS
from _policy_rules import Condition, candidates, conditions, policies, requests
from _result import emit

from harmost.core.policy.compile import PolicyCompiler
from harmost.core.policy.engine import Engine, read_engine
from harmost.core.policy.index.decide import Candidates

SIZES = (10, 100, 1_000, 10_000)
SHAPES = ("few", "many")
CALLS = 3_000
ROUNDS = 3
# Calls of each peer by rules: regopy takes seconds for one at 10,000.
PEER_CALLS = {10: 50, 100: 30, 1_000: 8, 10_000: 2}


def main() -> None:
    """Print one JSON line for each measurement; `--no-peers` leaves the other engines out."""
    for shape in SHAPES:
        for size in SIZES:
            measure_decisions(size, shape)
    measure_compiling(conditions(10_000, "few"))
    if "--no-peers" not in sys.argv:
        for size in SIZES:
            measure_peers(size)


def measure_decisions(size: int, shape: str) -> None:
    """Times of single decisions, after each request was decided once."""
    rules = conditions(size, shape)
    engine = PolicyCompiler().compile(policies(rules), generation=1)
    prepared = engine.prepare(candidates())
    packed = [msgspec.msgpack.encode(each) for each in requests(CALLS, size, shape, seed="calls")]
    check(engine, prepared, rules, packed[:10])
    matches = [len(engine.decide(fresh(each), prepared, now_s=0).hits) for each in packed]
    gc.collect()
    gc.freeze()
    name = f"policy.decide.{size}.{shape}"
    emit(f"{name}.matches", statistics.mean(matches), "rules", len(matches))
    clock_ns = statistics.median(times_ns(packed, lambda request: None))
    ways: dict[str, Callable[[dict[str, Any]], object]] = {
        "decide": lambda request: engine.decide(request, prepared, now_s=0),
        "match": lambda request: engine.outcome(request, prepared, now_s=0),
    }
    for way, call in ways.items():
        took = sorted(each - clock_ns for each in times_ns(packed, call))
        name = f"policy.{way}.{size}.{shape}"
        emit(f"{name}.p50_us", took[len(took) // 2] / 1e3, "us", len(took))
        emit(f"{name}.p99_us", took[len(took) * 99 // 100] / 1e3, "us", len(took))
    gc.unfreeze()


def times_ns(packed: Sequence[bytes], call: Callable[[dict[str, Any]], object]) -> list[int]:
    """CPU time of each call, on facts that were made just before; the answer is dropped after."""
    took: list[int] = []
    for _ in range(ROUNDS):
        for each in packed:
            request = fresh(each)
            begin = time.process_time_ns()
            answer = call(request)
            took.append(time.process_time_ns() - begin)
            del answer
    return took


def fresh(packed: bytes) -> dict[str, Any]:
    """Request facts as new objects."""
    facts: dict[str, Any] = msgspec.msgpack.decode(packed)
    return facts


def check(
    engine: Engine, prepared: Candidates, rules: Sequence[Condition], packed: Sequence[bytes]
) -> None:
    """Raises unless the rules that are named are those that plain Python finds."""
    plain = PEERS["python"](rules)
    for each in packed:
        request = fresh(each)
        named = {int(hit.rule[4:]) for hit in engine.decide(request, prepared, now_s=0).hits}
        if named != plain.matching(request, prepared.given):
            raise SystemExit("the engine and plain Python disagree: a figure would mean nothing")


def measure_compiling(rules: list[Condition]) -> None:
    """All rules anew, one rule changed, and what a Router reads."""
    compiler = PolicyCompiler()
    documents = policies(rules)
    begin = time.process_time()
    compiler.compile(documents, generation=1)
    emit("policy.compile.10000.s", time.process_time() - begin, "s", 1)
    took: list[float] = []
    for change in range(9):
        documents = policies(rules)
        metadata, spec = documents[50]
        changed = msgspec.structs.replace(spec.rules[7], when=f"input.tokens > {change}")
        spec = msgspec.structs.replace(spec, rules=(*spec.rules[:7], changed, *spec.rules[8:]))
        documents[50] = (metadata, spec)
        begin = time.process_time()
        engine = compiler.compile(documents, generation=2 + change)
        took.append(time.process_time() - begin)
    emit("policy.recompile.one.ms", statistics.median(took) * 1e3, "ms", len(took))
    written = engine.written()
    emit("policy.written.10000.mb", len(written) / 1e6, "MB", 1)
    begin = time.process_time()
    read_engine(written, generation=1)
    emit("policy.read.10000.ms", (time.process_time() - begin) * 1e3, "ms", 1)
    emit("policy.memory.10000.mb", memory_mb(written), "MB", CALLS)


def memory_mb(written: bytes) -> float:
    """What a new process grows by that reads the rules and decides CALLS requests of all tenants."""
    run = subprocess.run(
        [sys.executable, __file__, "--memory"], input=written, capture_output=True, check=True
    )
    return int(run.stdout) / 1e6


def print_memory() -> None:
    """Read rules from standard input, use them, print how many bytes that took."""
    written = sys.stdin.buffer.read()
    packed = [msgspec.msgpack.encode(each) for each in requests(CALLS, 10_000, "few", seed="m")]
    # What any first decision loads is not about the rules.
    PolicyCompiler().compile(policies(conditions(10, "few")), generation=1)
    gc.collect()
    before = psutil.Process().memory_info().rss
    engine = read_engine(written, generation=1)
    prepared = engine.prepare(candidates())
    for each in packed:
        engine.decide(fresh(each), prepared, now_s=0)
    print(psutil.Process().memory_info().rss - before)


def measure_peers(size: int) -> None:
    """The same rules and requests for every engine."""
    rules = conditions(size, "few")
    asked = requests(PEER_CALLS[size], size, "few", seed="peers")
    plain = PEERS["python"](rules)
    right = [plain.matching(request, candidates()) for request in asked]
    for name, make in PEERS.items():
        begin = time.process_time()
        peer = make(rules)
        emit(f"policy.peer.{name}.{size}.build_s", time.process_time() - begin, "s", 1)
        took: list[float] = []
        for request, matching in zip(asked, right, strict=True):
            begin_ns = time.process_time_ns()
            found = peer.matching(request, candidates())
            took.append((time.process_time_ns() - begin_ns) / 1e3)
            if found != matching:
                raise SystemExit(f"{name} and plain Python disagree: a figure would mean nothing")
        emit(f"policy.peer.{name}.{size}.p50_us", statistics.median(took), "us", len(took))


if __name__ == "__main__":
    print_memory() if "--memory" in sys.argv else main()
