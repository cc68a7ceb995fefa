"""Networks whose activity and phi-rate are set by construction: threshold and half-width bisected on what is measured.

The cost of learning follows phi, so every figure of the benchmark is taken at a stated phi-rate.
"""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import evsim

INPUTS, OUTPUTS, LOUD, HEARD = 32, 10, 2.2, 0.3
HALVINGS = 14


@dataclass
class Case:
    """A network, a sequence x (T, n_in) with targets y (T,), and the rates measured on it."""

    net: Any
    x: np.ndarray
    y: np.ndarray
    rates: dict


def sequence(n_in, n_out, steps, seed=0):
    """A seeded sequence: most inputs are 0 at a step, others normal; a target at each step."""
    rng = np.random.default_rng(seed)
    x = LOUD * rng.standard_normal((steps, n_in)) * (rng.random((steps, n_in)) < HEARD)
    return x.astype(np.float32), rng.integers(n_out, size=steps)


def build(cell, activity=None, phi_rate=None, steps=1000, n_in=INPUTS, n_out=OUTPUTS, seed=0, keep=0.0):
    """Case of one layer under a linear readout with the rates asked for; a rate that is None is left as it comes.

    keep: added to the bias of an EGRU's channel z, so that its units hold what they know for longer.
    """
    net = evsim.Network(n_in, cell, evsim.Readout(n_out), seed=seed)
    if keep:
        values = net.parameters()
        values["layers.0.bias"][cell.channels.index("z")] += keep
        net.load_parameters(values)
    x, y = sequence(n_in, n_out, steps, seed)
    if activity is not None:
        found = _bisect(lambda value: measure(_put_threshold(net, value), x)["activity"], activity, -1, 1e-3, 30.0)
        _put_threshold(net, found)
    if phi_rate is not None:
        found = _bisect(lambda width: measure(_widened(net, width), x)["phi_rate"], phi_rate, 1, 1e-5, 10.0)
        net = _widened(net, found)
    return Case(net, x, y, measure(net, x))


def fan_in_mask(n, sources, fan_in, seed):
    """Boolean (n, sources): exactly `fan_in` in each row, drawn."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((n, sources), bool)
    for row in mask:
        row[rng.choice(sources, min(fan_in, sources), replace=False)] = True
    return mask


def measure(net, x):
    """dict of activity, phi-rate and multiply-adds forward of a step, over the sequence x from zero state."""
    learner = evsim.TBPTT(net, window=32)
    learner.run(x)
    ops, each = learner.ops, len(x) * sum(cell.units for cell in net.layers)
    rates = {"activity": ops["events"] / each, "phi_rate": ops["phi"] / each}
    return {**rates, "forward_macs": ops["forward"] / len(x)}


def _bisect(rate_of, wanted, sign, low, high):
    """The value between low and high whose rate came nearest to the wanted one; sign: does the rate grow with it."""
    best = (np.inf, low)
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        rate = rate_of(middle)
        best = min(best, (abs(rate - wanted), middle))
        if (rate < wanted) == (sign > 0):
            low = middle
        else:
            high = middle
    return best[1]


def _put_threshold(net, value):
    """The network with that threshold; in place, for parameters of a large network need not be made dense for it."""
    _, _, places = net.layout.names["layers.0.threshold"]
    net.theta[places] = value
    net.project()
    return net


def _widened(net, width):
    """The same network with another half-width: events stay as they are, derivatives do not."""
    other = copy(net)
    other.layers = other.stack = (replace(net.layers[0], half_width=width),)
    return other
