"""How quiet can a network be? Accuracy, activity and joules on digits, over a sweep of what events cost.

    python examples/digits_front.py [--results front.json] [--quick] [--workers 2] [--out digits_front.png]

The same network, the same epochs, two seeds each; crosses are their means. Joules by the profile cmos45-float32, a
model. Needs the extras [data] and [plot].
"""

import argparse
from statistics import mean

from matplotlib import pyplot as plt

from evsim.contest import train_all

SEEDS = (0, 1)
COMMON = {"task": "digits", "units": 128, "density": 0.1, "epochs": 60, "half_width": 0.5, "half_width_to": 0.2}
TARGET = {**COMMON, "target_activity": 0.05}
WAYS = {
    "not asked to be quiet": COMMON,
    **{f"target 5 %, strength {s:g}": {**TARGET, "quiet_strength": s} for s in (0.004, 0.012, 0.03)},
    **{f"event cost {c:g}": {**COMMON, "event_cost": c} for c in (0.0024, 0.004)},
}
COLOURS = {"not": "black", "target": "tab:blue", "event": "tab:orange"}
SHOWN = {  # name -> (label, factor)
    "activity": ("units that speak at a step, %", 100), "phi_rate": ("units near their thresholds (phi-rate), %", 100),
    "joules_per_inference": ("uJ an inference (a model)", 1e6),
    "joules_per_sample": ("mJ a learned image (a model)", 1e3),
}  # fmt: skip


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--results")
    read.add_argument("--out", default="digits_front.png")
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    small = {"epochs": 1, "units": 8} if asked.quick else {}
    names = list(WAYS)[:2] if asked.quick else list(WAYS)
    ways = {name: {**WAYS[name], **small} for name in names}
    found = train_all(ways, SEEDS[:1] if asked.quick else SEEDS, None, asked.results, asked.workers)
    print(f"{'means of seeds':<28}{'accuracy':>9}{'(each)':>22}{'activity':>10}{'phi-rate':>10}{'MACs/step':>11}"
          f"{'uJ/inference':>14}{'mJ/learned':>12}")  # fmt: skip
    for name, runs in found.items():
        middle = {key: mean(run[key] for run in runs) for key in ("test_accuracy", "macs_per_step", *SHOWN)}
        each = ", ".join(f"{run['test_accuracy']:.1%}" for run in runs)
        print(f"{name:<28}{middle['test_accuracy']:>9.1%}{each:>22}{middle['activity']:>10.1%}{middle['phi_rate']:>10.1%}"
              f"{middle['macs_per_step']:>11,.0f}{middle['joules_per_inference'] * 1e6:>14.2f}"
              f"{middle['joules_per_sample'] * 1e3:>12.1f}")  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(9, 7), sharey=True, layout="constrained")
    for axis, (key, (label, factor)) in zip(axes.flat, SHOWN.items(), strict=True):
        for name, runs in found.items():
            x, y = ([run[what] * by for run in runs] for what, by in ((key, factor), ("test_accuracy", 100)))
            colour = COLOURS[name.split()[0]]
            axis.plot(x, y, ".", color=colour, alpha=0.5)
            axis.plot(mean(x), mean(y), "x", color=colour, ms=8, mew=2)
        axis.set_xlabel(label)
    for row in axes:
        row[0].set_ylabel("test accuracy, %")
    for kind, colour in COLOURS.items():
        text = {"not": "not asked to be quiet", "target": "target of each unit", "event": "L1 on events"}[kind]
        axes[0, 0].plot([], [], "x", color=colour, label=text)
    axes[0, 0].legend()
    figure.savefig(asked.out, dpi=150)


if __name__ == "__main__":
    main()
