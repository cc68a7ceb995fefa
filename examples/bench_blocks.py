"""Exact learners against backpropagation in torch: one EGRU layer, one sequence, one thread, all in one run.

    python examples/bench_blocks.py [--quick]

Prints microseconds of a step and their ratios to torch's: as `evsim.models` unrolls any network, and by an EGRU that is
written for speed (`evsim.models.FastEGRU`). Needs the [torch] extra.
"""

import argparse
import os
import time

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

import evsim
from evsim.models import FastEGRU, autograd_gradients

INPUTS, OUTPUTS, DENSITY, LOUD = 32, 10, 0.1, 2.2  # a scale of inputs with which about a fifth of phi is not 0


def by_evsim(learner, x, targets, anew=True):
    """One sequence and its gradient; anew: its past is not carried along."""
    if anew:
        learner.reset()
    learner.run(x, targets)
    learner.gradient()


def rows(units, steps):
    """Name -> median microseconds of a step, of ways taken in turns; and the phi-rate."""
    net = evsim.Network(INPUTS, evsim.EGRU(units, density=DENSITY, density_in=DENSITY), evsim.Readout(OUTPUTS))
    rng, shape = np.random.default_rng(0), (steps, INPUTS)
    x = (LOUD * rng.standard_normal(shape) * (rng.random(shape) < 0.3)).astype(np.float32)
    targets = rng.integers(OUTPUTS, size=steps)
    bptt, blocks, stream = evsim.BPTT(net), evsim.RTRL(net, block=256), evsim.RTRL(net, block=256)
    ways = {
        "torch, as evsim.models": lambda: autograd_gradients(net, x, targets, "cross_entropy"),
        "torch, written for speed": lambda: autograd_gradients(net, x, targets, "cross_entropy", kind=FastEGRU),
        "evsim.BPTT": lambda: by_evsim(bptt, x, targets),
        "evsim.RTRL(block=256)": lambda: by_evsim(blocks, x, targets),
        "the same, an endless stream": lambda: by_evsim(stream, x, targets, anew=False),
    }
    times = {name: [] for name in ways}
    for _ in range(4):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append((time.perf_counter() - start) / steps * 1e6)
    phi = bptt.ops["phi"] / bptt.ops["steps"] / units  # the first turn compiles, and fills M
    return {name: float(np.median(found[1:])) for name, found in times.items()}, phi


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small and short")
    quick = options.parse_args().quick
    for units in (16,) if quick else (64, 128, 256, 512):
        found, phi = rows(units, 40 if quick else 1000)
        slow, tight, *_ = found.values()
        print(f"{units} EGRU units, density {DENSITY}, phi-rate {phi:.2f}: us per step, of torch's, of the faster's")
        for name, us in found.items():
            print(f"  {name:28} {us:9.1f}   {us / slow:8.4f} {us / tight:8.4f}")


if __name__ == "__main__":
    main()
