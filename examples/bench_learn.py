"""Times of a learning step and of starting up, on this machine.

    python examples/bench_learn.py [--quick]

Prints the median time of one `learner.step` at 32 EGRU units; of `evsim --help`; and of what a whole `evsim train`
takes besides training, the first time (kernels are compiled into an empty cache) and later.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import evsim

SETUP = {"units": 32, "density": 0.1, "inputs": 8, "outputs": 10}


def step_times(steps, told):
    """Microseconds of each of `steps` calls of learner.step, with a target or without."""
    cell = evsim.EGRU(SETUP["units"], density=SETUP["density"])
    net = evsim.Network(SETUP["inputs"], [cell], evsim.Readout(SETUP["outputs"]), seed=0)
    learner = evsim.RTRL(net)
    x = np.random.default_rng(0).random((steps, net.n_in), np.float32)
    for t in range(500):  # let M fill, and the processor settle
        learner.step(x[t % steps], 3 if told else None)
    times = []
    for x_t in x:
        start = time.perf_counter()
        learner.step(x_t, 3 if told else None)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def wall(*arguments, **environment):
    """Seconds and standard output of one `evsim` command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "evsim", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return time.perf_counter() - start, done.stdout


def start_up(folder):
    """Seconds of `evsim train` without the training itself."""
    run = ("train", "spiral", "--units", "8", "--epochs", "1", "--out", f"{folder}/run", "--force", "--json")
    seconds, printed = wall(*run, NUMBA_CACHE_DIR=f"{folder}/cache")
    return seconds - json.loads(printed.splitlines()[-1])["train_seconds"]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="few steps, no start-up times")
    given = options.parse_args()
    steps = 200 if given.quick else 5000

    shape = f"{SETUP['units']} EGRU units, density {SETUP['density']}, {SETUP['inputs']} inputs, float32, one thread"
    print(f"learner.step, {shape}")
    for label, told in (("with a target", True), ("without", False)):
        times = step_times(steps, told)
        low, high = np.quantile(times, (0.1, 0.9))
        print(f"  {label:32} median {statistics.median(times):6.1f} us   (10 %: {low:.1f}, 90 %: {high:.1f})")
    if given.quick:
        return
    print(f"evsim --help                       median {statistics.median(wall('--help')[0] for _ in range(5)):6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        print(f"evsim train, first ever, besides training {start_up(folder):6.1f} s   (compiles)")
        again = statistics.median(start_up(folder) for _ in range(3))
        print(f"evsim train, later, besides training      {again:6.1f} s")


if __name__ == "__main__":
    main()
