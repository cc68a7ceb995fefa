"""Calibrate: how fast this machine does what a step is made of, measured in about a second on small networks."""

import time

import numpy as np

from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import lookup

SIZES = (32, 96)
STEPS, BLOCK, INPUTS = 256, 64, 16


class Speed:
    """Seconds of one step's parts, each as seconds per unit and seconds per multiply-add.

    make(units): a layer of the kind in question. "stepping" is RTRL at every step, "cut" the same over many small sets
    of rows, "sweep" a row carried back, "rows" all of them and what they add to M; `product` is that of two matrices.
    """

    def __init__(self, make, dtype):
        rtrl, bptt, snap = (lookup("learner", kind) for kind in ("rtrl", "bptt", "snap"))
        found = {part: [] for part in ("forward", "stepping", "cut", "sweep", "rows")}
        for units in SIZES:
            net = Network(INPUTS, make(units), Readout(4), dtype=dtype)
            x = np.random.default_rng(0).standard_normal((STEPS, INPUTS)).astype(net.dtype)
            y = np.zeros(STEPS, np.int64)
            forward, told = self._time(bptt(net), x, None), self._time(bptt(net), x, y)
            swept = rtrl(net, block=BLOCK)
            swept.prices = 0.0, 0.0  # however few the units are
            found["forward"].append((units, *forward))
            found["sweep"].append((units, *_less(told, forward)))
            found["stepping"].append((units, *_less(self._time(rtrl(net), x, y), forward)))
            found["cut"].append((units, *_less(self._time(snap(net), x, y), forward)))
            found["rows"].append((units, *_less(self._time(swept, x, y), told)))
        self.parts = {part: _fit(*rows) for part, rows in found.items()}
        units, seconds, macs = found["cut"][-1]  # too few multiply-adds to tell their time
        per_mac = self.parts["stepping"][1]
        self.parts["cut"] = max(seconds - per_mac * macs, 0.0) / units, per_mac
        self.product = _product(np.dtype(dtype))

    def seconds(self, part, units, macs):
        """Expected seconds for so many units and multiply-adds."""
        if part == "product":
            return self.product * macs
        per_unit, per_mac = self.parts[part]
        return per_unit * units + per_mac * macs

    @staticmethod
    def _time(learner, x, y):
        """(seconds, multiply-adds) of a step, the gradient included."""
        best = np.inf
        for _ in range(4):
            learner.reset()
            learner.zero_gradients()
            before, start = learner.ops["multiply_adds"], time.perf_counter()
            learner.run(x, y)
            learner.gradient()
            best = min(best, time.perf_counter() - start)
        return best / len(x), (learner.ops["multiply_adds"] - before) / len(x)


def _less(whole, part):
    return max(whole[0] - part[0], 0.0), max(whole[1] - part[1], 0.0)


def _fit(small, large):
    """Seconds per unit and per multiply-add, neither negative, from two networks."""
    (u, t, m), (v, s, n) = small, large
    per_mac = max((s / v - t / u) / max(n / v - m / u, 1e-9), 0.0)
    per_unit = s / v - per_mac * n / v
    return (per_unit, per_mac) if per_unit >= 0 else (0.0, s / max(n, 1e-9))


def _product(dtype, size=256):
    a, out = np.ones((size, size), dtype), np.empty((size, size), dtype)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return best / size**3
