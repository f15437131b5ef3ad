"""What a replay tells at its end, as tables for people and as one document for programs."""

from dataclasses import asdict
from typing import Any

from harmost.services.cli.output import console, table, usd
from harmost.services.cli.replay.proof import Line, Proof
from harmost.services.cli.replay.tally import Cost, Tally, quantile

__all__ = ["document", "show"]

DIFFERENCES_SHOWN = 20
# A start this late, compressed time and all, is no longer the trace's timing.
LATE_NS = 50_000_000


def document(tally: Tally, proof: Proof | None, *, speed: float, span_s: float) -> dict[str, Any]:
    """The whole result as JSON values."""
    return {
        "requests": tally.requests,
        "ok": tally.ok,
        "denied": dict(tally.denied),
        "failed": dict(tally.failed),
        "cut": dict(tally.cut),
        "speed": speed,
        "wall_s": tally.wall_s,
        "requests_per_s": tally.requests / tally.wall_s if tally.wall_s else 0.0,
        "requests_per_s_wanted": tally.requests / span_s if span_s else None,
        "total": asdict(tally.total),
        "by_model": {name: asdict(cost) for name, cost in sorted(tally.by_model.items())},
        "by_tenant": {name: asdict(cost) for name, cost in sorted(tally.by_tenant.items())},
        "added_p50_ns": quantile(tally.added_ns, 0.5),
        "added_p99_ns": quantile(tally.added_ns, 0.99),
        "lag_p50_ns": quantile(tally.lag_ns, 0.5),
        "lag_p99_ns": quantile(tally.lag_ns, 0.99),
        "player_cpu_s": tally.cpu_s,
        "proof": None if proof is None else {"holds": proof.holds, **asdict(proof)},
    }


def show(tally: Tally, proof: Proof | None, *, speed: float, span_s: float) -> None:
    """Print the result."""
    found = document(tally, proof, speed=speed, span_s=span_s)
    rows = [("requests", f"{tally.requests:,}"), ("answered", f"{tally.ok:,}")]
    rows += [(f"denied: {reason}", f"{n:,}") for reason, n in sorted(tally.denied.items())]
    rows += [(f"failed: {reason}", f"{n:,}") for reason, n in sorted(tally.failed.items())]
    rows += [(f"answered, ended by {why}", f"{n:,}") for why, n in sorted(tally.cut.items())]
    rows += [
        ("requests a second", f"{found['requests_per_s']:,.1f}"),
        ("time", f"{tally.wall_s:,.1f} s"),
        ("added latency p50", f"{found['added_p50_ns'] / 1e6:,.2f} ms"),
        ("added latency p99", f"{found['added_p99_ns'] / 1e6:,.2f} ms"),
        ("schedule lag p99", f"{found['lag_p99_ns'] / 1e6:,.2f} ms"),
        ("player's own CPU", f"{100 * tally.cpu_s / max(tally.wall_s, 1e-9):.0f} % of a core"),
    ]
    table(("replay", ""), rows, right=1)
    _costs("model", tally.by_model, tally.total)
    _costs("tenant", tally.by_tenant, tally.total)
    if found["lag_p99_ns"] > LATE_NS:
        wanted = found["requests_per_s_wanted"]
        asked = f"not the {wanted:,.1f} that the trace asks for" if wanted else "not the trace's"
        console().print(
            f"[yellow]late: calls began up to {found['lag_p99_ns'] / 1e6:,.0f} ms (p99) after their "
            f"time, so the mesh saw {found['requests_per_s']:,.1f} requests a second, {asked}; "
            "lower --speed, or raise --concurrency-max if the machine has CPU left[/yellow]"
        )
    if proof is not None:
        _proof(proof)


def _costs(what: str, costs: dict[str, Cost], total: Cost) -> None:
    named = [*sorted(costs.items()), ("all", total)]
    table(
        (what, "attempts", "tokens in", "tokens out", "cost"),
        (
            (
                name,
                f"{cost.attempts:,}",
                f"{cost.input_tokens:,}",
                f"{cost.output_tokens:,}",
                usd(cost.usd_nanos),
            )
            for name, cost in named
        ),
        right=4,
    )


def _proof(proof: Proof) -> None:
    table(
        ("books", "attempts", "tokens in", "tokens out", "cost"),
        (
            ("provider billed", f"{proof.billed_attempts:,}", *_cells(proof.billed)),
            ("ledger settled", f"{proof.settled_attempts:,}", *_cells(proof.settled)),
        ),
        right=4,
    )
    if proof.holds:
        console().print("[green]proven:[/green] equal to the nano-dollar, attempt for attempt")
        return
    console().print(f"[red]not proven:[/red] {len(proof.differences):,} attempts differ")
    for attempt, billed, settled in proof.differences[:DIFFERENCES_SHOWN]:
        print(f"  {attempt}: billed {_told(billed)}, settled {_told(settled)}")
    if len(proof.differences) > DIFFERENCES_SHOWN:
        print(f"  and {len(proof.differences) - DIFFERENCES_SHOWN:,} more: `--json` lists all")


def _cells(line: Line) -> tuple[str, str, str]:
    return f"{line.input_tokens:,}", f"{line.output_tokens:,}", usd(line.usd_nanos)


def _told(line: Line | None) -> str:
    if line is None:
        return "nothing"
    return f"{line.input_tokens} in + {line.output_tokens} out, {usd(line.usd_nanos)}"
