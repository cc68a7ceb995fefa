"""Exact learners against backpropagation in torch: one EGRU layer, one sequence, one thread, all in one run.

    python examples/bench_blocks.py [--quick]

Prints microseconds of a step (forward and gradient) and the ratio to torch, twice: as `evsim.models` unrolls a network,
and with a cell written for speed, whose inputs and channels are multiplied at once. Needs the [torch] extra.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import evsim
from evsim.models.network import TorchNetwork
from evsim.models.words import TorchWords

INPUTS, OUTPUTS, DENSITY, LOUD = 32, 10, 0.1, 2.2  # a scale of inputs with which about a fifth of phi is not 0


def fast(net, x):
    """Outputs of an EGRU network with few, large products; the parameters that they depend on."""
    model, words = TorchNetwork(net), TorchWords(net.layers[0].pseudo)
    own = {name.removeprefix("layers.0."): value for name, value in model.values().items()}
    n, threshold, bias = net.layers[0].units, own["threshold"], own["bias"]
    heard = x @ own["weight_in"].reshape(3 * n, -1).T + torch.cat([bias[0], bias[1], bias[2]])
    rec, s, y, out = own["weight_rec"].reshape(3 * n, n), torch.zeros(n), torch.zeros(n), []
    for a in heard:
        b = rec @ y
        z, r = torch.sigmoid(a[: 2 * n] + b[: 2 * n]).chunk(2)
        c = z * s + (1 - z) * torch.tanh(a[2 * n :] + r * (b[2 * n :] + bias[3]))
        o = words.event(c - threshold)
        y, s = o * c, c - o * threshold
        out.append(y)
    return torch.stack(out) @ own["readout.weight"].T + own["readout.bias"]


def by_torch(run, net, x, targets):
    """One sequence forward and back."""
    total = torch.nn.functional.cross_entropy(run(net, torch.from_numpy(x)), torch.from_numpy(targets), reduction="sum")
    total.backward()


def by_evsim(learner, x, targets):
    """One sequence and its gradient."""
    learner.run(x, targets)
    learner.gradient()


def rows(units, steps):
    """(name, microseconds of a step, median) of each way, taken in turns; and the phi-rate."""
    cell = evsim.EGRU(units, density=DENSITY, density_in=DENSITY)
    net = evsim.Network(INPUTS, cell, evsim.Readout(OUTPUTS), seed=0)
    rng = np.random.default_rng(0)
    x = (LOUD * rng.standard_normal((steps, INPUTS)) * (rng.random((steps, INPUTS)) < 0.3)).astype(np.float32)
    targets = rng.integers(OUTPUTS, size=steps)
    bptt, blocks = evsim.BPTT(net), evsim.RTRL(net, block=min(256, steps))
    ways = {
        "torch, as evsim.models": lambda: by_torch(lambda net, x: TorchNetwork(net)(x[None])[0], net, x, targets),
        "torch, written for speed": lambda: by_torch(fast, net, x, targets),
        "evsim.BPTT": lambda: (bptt.reset(), by_evsim(bptt, x, targets)),
        "evsim.RTRL(block=256)": lambda: by_evsim(blocks, x, targets),
    }
    times = {name: [] for name in ways}
    for turn in range(4):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first compiles, and fills M
                times[name].append((time.perf_counter() - start) / steps * 1e6)
    ops = blocks.ops
    return {name: float(np.median(found)) for name, found in times.items()}, ops["phi"] / ops["steps"] / units


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small and short")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    for units in (16,) if quick else (64, 128, 256, 512):
        found, phi = rows(units, 40 if quick else 1000)
        slow, tight, *_ = found.values()
        print(f"{units} EGRU units, density {DENSITY}, phi-rate {phi:.2f}: microseconds of a step, of each torch's time")
        for name, us in found.items():
            print(f"  {name:26} {us:9.1f}   {us / slow:8.4f} {us / tight:8.4f}")


if __name__ == "__main__":
    main()
