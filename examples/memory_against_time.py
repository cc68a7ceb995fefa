"""Memory against time: what each learner holds after a hundred steps, and after a hundred thousand.

    python examples/memory_against_time.py [--out memory_against_time.png] [--quick]        needs the extra [plot]

64 EGRU units read a stream without an end, a piece at a time, and are told something at every step. Printed are the
bytes each learner holds (`learner.memory`) and, where /proc tells, by how many the process has grown since step 1,000.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import evsim

PIECE = 1000
LEARNERS = {  # name: class, options, colour, line
    "RTRL": (evsim.RTRL, {"block": 1}, "#0072b2", "-"),
    "RTRL, block 64": (evsim.RTRL, {"block": 64}, "#0072b2", "--"),
    "RTRL, block 256": (evsim.RTRL, {"block": 256}, "#0072b2", ":"),
    "TBPTT-256": (evsim.TBPTT, {"window": 256}, "#008060", "--"),
    "SnAp-1": (evsim.SnAp, {"n": 1}, "#c85200", "-"),
    "UORO": (evsim.UORO, {}, "#444444", "-"),
    "BPTT": (evsim.BPTT, {}, "#008060", "-"),  # last: what it gives back would hide the growth of others
}


def resident():
    """Bytes of this process in memory, or None where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * 4096 if pages.exists() else None


def follow(learner, times):
    """learner.memory["total"] and the process's bytes after each of `times` steps."""
    rng, done, held, process = np.random.default_rng(0), 0, [], []
    for time in times:
        while done < time:
            steps = min(PIECE, time - done)
            learner.run(rng.standard_normal((steps, learner.net.n_in)), rng.integers(learner.net.n_out, size=steps))
            done += steps
        held.append(learner.memory["total"])
        process.append(resident())
    learner.gradient()
    return held, process


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", default="memory_against_time.png", help="picture to write")
    options.add_argument("--quick", action="store_true", help="few units, few steps")
    given = options.parse_args()
    units, times = (8, (100, 1000, 2000)) if given.quick else (64, (100, 1000, 10_000, 100_000))

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    print(f"{'bytes after':18}", *(f"{time:>13,}" for time in times), "      spread   process", flush=True)
    for name, (kind, extra, colour, line) in LEARNERS.items():
        net = evsim.Network(8, [evsim.EGRU(units, density=0.1)], evsim.Readout(10))
        held, process = follow(kind(net, **extra), times)
        spread = f"{max(held) / min(held) - 1:12.2%}"
        grown = "" if process[0] is None else f"{process[-1] - process[1]:+15,}"
        print(f"{name:18}", *(f"{size:13,}" for size in held), spread, grown, flush=True)
        axes.plot(times, np.array(held) / 1e6, line, color=colour, marker="o", lw=2)
        end = times[-1], held[-1] / 1e6
        axes.annotate(name, end, (10, 0), "data", "offset points", color=colour, va="center", fontsize=12)
    axes.set(xscale="log", yscale="log", xlabel="steps read", ylabel="memory of the learner (MB)")
    axes.set_xticks(times, [f"{time:,}" for time in times])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(given.out, dpi=130)


if __name__ == "__main__":
    main()
