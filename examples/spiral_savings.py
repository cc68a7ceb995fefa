"""What both sparsities save on the spiral task, counted: exact online learning of one EGRU layer, sparse in activity
and in weights, against dense RTRL of units that always speak, to the same loss and accuracy.

    python examples/spiral_savings.py [--results savings.json] [--quick] [--workers 2]

Multiply-adds are those of the whole online step: ours counted by the kernels, dense RTRL's in closed form for as many
steps as it takes (its gradient is that of backpropagation, which finds them). Seconds of dense RTRL: its steps times
those of a step by BLAS (`evsim.bench.dense_egru`). Everything on one thread.
"""

import argparse
from statistics import median

from evsim.bench.dense_egru import time_dense
from evsim.bench.spiral import BATCH, SEEDS, train_ours
from evsim.processes import run_each

DENSE = {f"dense, units always speak, rate {rate}": (dict(always=True), rate) for rate in (3e-3, 1e-2, 2e-2)}
FRONT = {
    16: {
        "density 0.3, half-width 0.3": (dict(density=0.3, half_width=0.3, threshold=0.2), 3e-2),
        "density 0.1, half-width 0.5": (dict(density=0.1, half_width=0.5, threshold=0.1), 3e-2),
        "density 0.1, half-width 0.2": (dict(density=0.1, half_width=0.2, threshold=0.1), 3e-2),
        "density 0.05, half-width 1": (dict(density=0.05, half_width=1.0, threshold=0.2), 2e-2),
        "density 0.05, half-width 0.2": (dict(density=0.05, half_width=0.2, threshold=0.1), 3e-2),
        "8 blocks of 2, half-width 0.2": (dict(blocks=8, half_width=0.2, threshold=0.1), 2e-2),
    },
    64: {
        "density 0.1, half-width 0.5": (dict(density=0.1, half_width=0.5, threshold=0.1), 1e-2),
        "density 0.02, half-width 0.5": (dict(density=0.02, half_width=0.5, threshold=0.1), 2e-2),
        "8 blocks of 8, half-width 0.2": (dict(blocks=8, half_width=0.2, threshold=0.1), 2e-2),
        "16 blocks of 4, half-width 0.2": (dict(blocks=16, half_width=0.2, threshold=0.1), 2e-2),
        "32 blocks of 2, half-width 0.2": (dict(blocks=32, half_width=0.2, threshold=0.1), 2e-2),
    },
}  # fmt: skip


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--results")
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    seeds, most = (SEEDS[:1], 60) if asked.quick else (SEEDS, 1000)
    for units in (16,) if asked.quick else FRONT:
        ways = [*((name, *way, "bptt") for name, way in DENSE.items()),
                *((name, *way, "rtrl") for name, way in FRONT[units].items())]  # fmt: skip
        jobs = [(name, seed, options, rate, most, None, units, how)
                for name, options, rate, how in ways for seed in seeds]  # fmt: skip
        runs = run_each(train_ours, jobs, asked.workers, asked.results)
        found = {name: [run for run in runs if run["name"] == name] for name, *_ in ways}
        found = {name: own for name, own in found.items() if all(run["learned"] for run in own)}
        (timed,) = run_each(time_dense, [(units, BATCH)], 1, asked.results)
        tell(units, found, timed["seconds"], len(seeds))


def tell(units, found, per_step, seeds):
    print(f"\n{units} units: to a loss below 0.1 at 99.5 % of validation sequences right, medians of {seeds} seeds")
    print(f"{'':44}{'iterations':>10}{'multiply-adds':>15}{'times':>8}{'seconds':>9}{'times':>8}{'test':>8}")
    rows, best = [], None
    for name, own in found.items():
        steps = median(run["learned"]["steps"] for run in own)
        macs, seconds = (median(run["learned"][what] for run in own) for what in ("macs", "seconds"))
        if name in DENSE:
            macs, seconds = own[0]["dense"] * steps, per_step * steps
            best = min(best or (macs, seconds), (macs, seconds))
        rows.append((name, median(run["learned"]["iteration"] for run in own), macs, seconds,
                     min(run["test_accuracy"] for run in own)))  # fmt: skip
    for name, iterations, macs, seconds, right in rows:
        saved = ("", "") if name in DENSE or best is None else (f"{best[0] / macs:.0f}", f"{best[1] / seconds:.1f}")
        print(f"{name:<44}{iterations:>10.0f}{macs:>15.3g}{saved[0]:>8}{seconds:>9.2f}{saved[1]:>8}{right:>8.1%}")


if __name__ == "__main__":
    main()
