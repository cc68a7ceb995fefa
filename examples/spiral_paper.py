"""The spiral experiment of arXiv:2303.05641: ten levels of parameter sparsity, five seeds, with and without activity
sparsity; in the author's measure, in counted multiply-adds and by the clock.

    python examples/spiral_paper.py [--results spiral.json] [--quick] [--workers 2] [--out spiral_paper.png]

Takes about a quarter of an hour on two cores; results are kept in --results as they come. Needs the extra [plot].
"""

import argparse
from math import inf
from statistics import median

from matplotlib import pyplot as plt

from evsim.bench.spiral import AUTHOR, ITERATIONS, LEVELS, SEEDS, mean_curves, train_paper, when_learned
from evsim.processes import run_each

TITLES = {False: "units speak above their thresholds", True: "units always speak"}


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--results")
    read.add_argument("--out", default="spiral_paper.png")
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    levels, seeds, size = (LEVELS, SEEDS, (16, ITERATIONS)) if not asked.quick else ((0.0, 0.9), (0,), (4, 40))
    jobs = [(absent, seed, always, *size) for seed in seeds for absent in levels for always in (False, True)]
    runs = run_each(train_paper, jobs, asked.workers, asked.results)
    curves = {
        (absent, always): mean_curves([r for r in runs if (r["absent"], r["always"]) == (absent, always)])
        for absent in levels for always in (False, True)
    }  # fmt: skip
    tell(levels, curves, runs)
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharey=True, layout="constrained")
    for (absent, always), found in curves.items():
        for row, name in enumerate(("adjusted", "macs")):
            colour = plt.get_cmap("viridis")(absent)
            axes[row, int(always)].semilogx(found[name], found["loss"], color=colour, label=f"{absent:.0%}")
    for always in (False, True):
        axes[0, int(always)].set(title=TITLES[always], xlabel="compute-adjusted iterations (the author's measure)")
        axes[1, int(always)].set(xlabel="multiply-adds of the whole online step, counted")
    for row in axes:
        limits = [axis.get_xlim() for axis in row]
        for axis in row:
            axis.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
        row[0].set_ylabel("mean loss of five seeds")
    axes[0, 0].legend(title="weights absent", fontsize=7, title_fontsize=8)
    figure.savefig(asked.out, dpi=150)


def tell(levels, curves, runs):
    print("means of all seeds; up to a mean loss below 0.1; author: read off the paper's figures")
    print("absent      sparsity of M, end   silent, end   iterations  compute-adjusted", end="")
    print("  multiply-adds  seconds  accuracy")
    for always in (False, True):
        print(TITLES[always])
        for absent in levels:
            found, place = curves[absent, always], LEVELS.index(absent)
            kind = "always, " if always else ""
            reached = [AUTHOR[f"{kind}{name}"][place] for name in ("iterations", "compute-adjusted")]
            ended = [AUTHOR[f"{name}, end"][place] for name in ("sparsity of M", "activity sparsity")]
            ended = ["-", "-"] if always else ended
            at = when_learned(found)
            own = [run for run in runs if (run["absent"], run["always"]) == (absent, always)]
            right = min(run["test_accuracy"] for run in own)
            ends = sorted(run["rows"][-1]["sparsity"] for run in own)
            print(f"{absent:4.0%}  author  {ended[0]:<18}  {ended[1]:<12}  {reached[0]:>10}  {reached[1]:>16}")
            ours = f"{found['sparsity'][-1]:.3f} ({ends[0]:.3f}-{ends[-1]:.3f})  {found['silent'][-1]:<12.3f}"
            if at is not None:
                ours += f"  {at['iteration']:>10.0f}  {at['adjusted']:>16.1f}"
                ours += f"  {at['macs']:>13.3g}  {at['seconds']:>7.2f}"
            print(f"      ours    {ours}  {right:>8.1%}")
    first, last = when_learned(curves[0.0, True]), when_learned(curves[levels[-1], False])
    if first and last:
        ratios = [first[name] / last[name] for name in ("adjusted", "macs", "seconds")]
        print(f"neither sparsity over both, on mean curves: {ratios[0]:.1f} times as much by the author's measure "
              f"(published: 18), {ratios[1]:.1f} in multiply-adds, {ratios[2]:.1f} in seconds")  # fmt: skip
        each = {key: [when_learned(mean_curves([run])) for run in runs if (run["absent"], run["always"]) == key]
                for key in ((0.0, True), (levels[-1], False))}  # fmt: skip
        all_of, none_of = (sorted(at["adjusted"] if at else inf for at in found) for found in each.values())
        print(f"by the author's measure, medians of seeds, each up to its own loss below 0.1: "
              f"{median(all_of):.1f} over {median(none_of):.1f}, {median(all_of) / median(none_of):.1f} times")


if __name__ == "__main__":
    main()
