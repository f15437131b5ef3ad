"""Two pictures of a load run: added delay against streams, and where a token's time goes."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rig import Rig, Window

__all__ = ["draw_delay", "draw_flame"]

GOALS_MS = {1_000: 3.0, 2_000: 6.0, 3_000: 40.0}


def draw_delay(levels: dict[str, list[Window]], path: Path) -> None:
    """p50 (thin) and p99 (thick) of added delay for each line of `levels`, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for colour, (label, windows) in zip(
        mpl.colormaps["tab10"].colors, levels.items(), strict=False
    ):
        streams = [window.streams for window in windows]
        for quantile, width in (("p50", 0.8), ("p99", 2.2)):
            axes.plot(
                streams,
                [window.ms("delay", quantile) for window in windows],
                color=colour,
                linewidth=width,
                marker="o",
                markersize=3,
                label=f"{label}, {quantile}",
            )
    axes.plot(
        list(GOALS_MS), list(GOALS_MS.values()), "k_", markersize=14, label="goal for p99, governed"
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="streams at 20 tokens a second",
        ylabel="delay added to a token, ms",
    )
    ticks = sorted({window.streams for windows in levels.values() for window in windows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_flame(rig: Rig, profile: str, path: Path, *, streams: int, seconds: int) -> str:
    """Sample the Router while it relays; what went wrong, or ""."""
    load = rig.start(profile, streams=streams, tokens=50_000, count_s=1, windows=1_000)
    pid = next(pid for pid, name in rig.pids().items() if name == "router")
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid)]
    command += ["--duration", str(seconds), "--rate", "250", "--native", "--output", str(path)]
    try:
        load.stdout.readline()  # the ramp is over
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        return said.stderr[-300:] if said.returncode else ""
    except FileNotFoundError:
        return "py-spy is not installed: pip install py-spy"
    finally:
        load.kill()
        load.communicate()
