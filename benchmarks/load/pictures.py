"""Pictures of a load run: added delay against streams, and where a Router's time goes."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rig import Rig, Window

__all__ = ["draw_delay", "draw_flame", "shares"]

GOALS_MS = {1_000: 3.0, 2_000: 6.0, 3_000: 40.0}
SAMPLES_PER_S = 250
_LOOP = "harmost/services/main.py"


def draw_delay(levels: dict[str, list[Window]], path: Path) -> None:
    """p50 (thin) and p99 (thick) of added delay for each line of `levels`, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = mpl.colormaps["tab10"].colors
    for colour, (label, windows) in zip(colours, levels.items(), strict=False):
        streams = [window.streams for window in windows]
        for quantile, width in (("p50", 0.8), ("p99", 2.2)):
            delays = [window.ms("delay", quantile) for window in windows]
            style = {"color": colour, "linewidth": width, "marker": "o", "markersize": 3}
            axes.plot(streams, delays, label=f"{label}, {quantile}", **style)
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


def draw_flame(rig: Rig, profile: str, path: Path, *, streams: int, seconds: int) -> None:
    """A flame graph of the Router while it relays tokens and no call begins or ends."""
    _sample(rig, profile, path, "flamegraph", seconds, streams=streams, tokens=50_000)


def shares(rig: Rig, profile: str, *, seconds: int, **load: object) -> list[tuple[str, float]]:
    """How much of the Router's time lies in each file or below it: largest first.

    Time below a file counts for it once: the shares of callers and callees overlap.
    """
    raw = rig.scratch / "profile.txt"
    _sample(rig, profile, raw, "raw", seconds, **load)
    total, inside = 0, Counter[str]()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        files = {_file(frame) for frame in stack.split(";")}
        if _LOOP in files:  # the thread of the loop; others wait
            total += int(count)
            inside.update({file: int(count) for file in files})
    return [(file, count / max(total, 1)) for file, count in inside.most_common()]


def _file(frame: str) -> str:
    """Of a frame as py-spy writes it, "name (/path/file.py:line)": ours by its path in the tree."""
    path = frame.rpartition("(")[2].rstrip(")").partition(":")[0]
    for root in ("/harmost/", "/site-packages/"):
        if root in path:
            return (root + path.rpartition(root)[2]).removeprefix("/site-packages").strip("/")
    return path.rpartition("/")[2]


def _sample(rig: Rig, profile: str, path: Path, form: str, seconds: int, **load: object) -> None:
    running = rig.start(profile, **{"count_s": 1, "windows": 1_000, **load})
    pid = next(pid for pid, name in rig.pids().items() if name == "router")
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid)]
    command += ["--duration", str(seconds), "--rate", str(SAMPLES_PER_S), "--format", form]
    command += ["--output", path.name, *(["--full-filenames"] if form == "raw" else [])]
    try:
        running.stdout.readline()  # the ramp is over
        subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"py-spy: {error.stderr[-300:]}") from None
    finally:
        running.kill()
        running.communicate()
