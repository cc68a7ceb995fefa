"""Cost against activity and density: what a step of exact learning takes, counted and by the clock.

    python examples/cost_against_activity.py [--out cost_against_activity.png] [--quick]        needs the extra [plot]

128 units learn, block 1, at every step. Thresholds are set so that the phi-rate, the fraction of units whose event can
change, is what the axis says; masks are drawn with the density. Dense RTRL does the same whatever the units do. The two
scales are tied at this machine's best rate from its L2 cache: a solid line would lie on its dashed one if a step were
nothing but multiply-adds at that rate.
"""

import argparse
import time

import numpy as np
from matplotlib import pyplot as plt

import evsim
from evsim.bench.ceilings import squares_rate
from evsim.bench.nets import build
from evsim.opcount import dense_rtrl_macs

KINDS = {evsim.EGRU: "#0072b2", evsim.EvRNN: "#c85200"}
FIXED = {"phi-rate": 0.1, "density": 0.1}  # what stays while the other changes


def measure(make, units, density, phi_rate, steps):
    """(phi-rate, multiply-adds, microseconds, dense RTRL's multiply-adds) of one step, the quickest of turns."""
    case = build(make(units, density=density, density_in=density), phi_rate / 2, phi_rate, steps)
    learner, times = evsim.RTRL(case.net), []
    learner.run(case.x, case.y)  # kernels compile, M fills
    before = learner.ops
    for _ in range(2 if steps < 100 else 20):
        start = time.perf_counter()
        learner.run(case.x, case.y)
        times.append((time.perf_counter() - start) / steps * 1e6)
    done = {part: learner.ops[part] - before[part] for part in ("multiply_adds", "phi", "steps")}
    phi = done["phi"] / done["steps"] / units
    return phi, done["multiply_adds"] / done["steps"], min(times), dense_rtrl_macs(case.net)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", default="cost_against_activity.png", help="picture to write")
    options.add_argument("--quick", action="store_true", help="a small network, short sequences")
    quick = (given := options.parse_args()).quick
    units, steps = (16, 20) if quick else (128, 500)
    points = (0.1, 0.4) if quick else (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)

    figure, panels = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    print(f"{'':8}{'density':>9}{'phi-rate':>10}{'MACs/step':>14}{'us/step':>10}{'dense/ours':>12}", flush=True)
    lines = []
    for panel, (axis, other) in zip(panels, (("phi-rate", "density"), ("density", "phi-rate"))):
        for make, colour in KINDS.items():
            rows = []
            for point in points:
                at = {axis: point, other: FIXED[other]}
                phi, macs, us, dense = measure(make, units, at["density"], at["phi-rate"], steps)
                rows.append((phi if axis == "phi-rate" else point, macs, us, dense))
                name = f"{make.__name__:8}{at['density']:9.2f}{phi:10.3f}"
                print(f"{name}{macs:14,.0f}{us:10.1f}{dense / macs:12,.0f}", flush=True)
            lines.append((panel, make.__name__, colour, *np.array(rows).T))
        panel.set(xscale="log", yscale="log", xlabel=f"{axis}, at {other} {FIXED[other]}")
        panel.set_xticks(points, [f"{point:g}" for point in points])
        panel.xaxis.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
    rate = squares_rate(2**19) / 1e6  # multiply-adds in a microsecond, at best
    print(f"the best that this machine does from its L2 cache: {rate:,.0f} multiply-adds a microsecond")
    for panel, name, colour, x, macs, us, dense in lines:
        panel.plot(x, dense, ":", color=colour, lw=1.8)
        panel.plot(x, macs, "--o", color=colour, mfc="white", lw=1.5)
        panel.plot(x, us * rate, "-o", color=colour, lw=2)
        told = {"textcoords": "offset points", "color": colour, "fontsize": 12}
        panel.annotate(f"dense RTRL, {name}: counted", (x[0], dense[0]), (0, 6), **told)
        panel.annotate(name, (x[-1], us[-1] * rate), (9, -4), **told)
        panel.set_xlim(right=1.9)
    for line, text in (("-o", "clocked, on the right"), ("--o", "counted, on the left")):
        panels[1].plot([], [], line, color="#444444", mfc="white" if "--" in line else None, label=text)
    tied = f"1 us = {rate:,.0f} multiply-adds,\nthis machine's best from its L2 cache"
    panels[1].legend(loc="lower right", frameon=False, fontsize=11, title=tied)
    right = panels[1].secondary_yaxis("right", functions=(lambda macs: macs / rate, lambda us: us * rate))
    right.set_ylabel("microseconds of a step")
    panels[0].set_ylabel("multiply-adds of a step")
    figure.savefig(given.out, dpi=130)


if __name__ == "__main__":
    main()
