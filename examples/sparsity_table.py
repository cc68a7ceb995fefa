"""Few weights on digits: masks that stay, masks that change while the network learns, and how densities are shared.

    python examples/sparsity_table.py [--density 0.05] [--start 0.3] [--seeds 0,1,2] [--quick]   needs the extra [data]

64 EGRU units, exact RTRL, one thread. Every row ends with the same density of all input and recurrent weights, but for
the first, which is what `evsim train digits` does. docs/sparsity.md says what the table shows.
"""

import argparse
import tempfile
from pathlib import Path

from evsim import runs

ERK = {"density_rule": "erk"}


def ways(density, start):
    """Title -> settings beside the task's own."""
    uniform, erk = {"density": density, "density_in": density}, {"density": density, **ERK}
    pruned = {"density": start, **ERK, "rewire": "magnitude", "rewire_density": density}
    return {
        "all inputs, recurrent density 0.2": {},
        "uniform, masks stay": uniform,
        "uniform, SET": {**uniform, "rewire": "set"},
        "uniform, RigL": {**uniform, "rewire": "rigl"},
        "ERK, masks stay": erk,
        "ERK, SET": {**erk, "rewire": "set"},
        "ERK, RigL": {**erk, "rewire": "rigl"},
        f"ERK, pruned from {start:g} by magnitude": pruned,
    }


def row(title, found):
    """Median and each seed's test accuracy, density, and multiply-adds per step over the whole training."""
    each = ", ".join(f"{100 * one['test_accuracy']:.1f}" for one in found["runs"])
    told = f"{100 * found['test_accuracy']:.1f} ({each})"
    work = f"{found['macs_per_step']:,.0f}"
    return f"{title:<36} {told:<26} {100 * found['density']:>7.1f} % {work:>12}"


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--density", type=float, default=0.05), read.add_argument("--start", type=float, default=0.3)
    read.add_argument("--seeds", default="0,1,2"), read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    common = {"task": "digits", "threads": 1, "seeds": [int(seed) for seed in asked.seeds.split(",")]}
    if asked.quick:
        common |= {"epochs": 2, "units": 8, "seeds": [0]}
    print(f"{'':<36} {'test accuracy, %':<26} {'density':>9} {'MACs/step':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for k, (title, own) in enumerate(ways(asked.density, asked.start).items()):
            print(row(title, runs.train({**common, **own}, out=Path(folder) / str(k))), flush=True)


if __name__ == "__main__":
    main()
