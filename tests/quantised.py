"""Networks and inputs on which fixed point is tried: what grows without end in `bundled.network` is tamed."""

import bundled
import numpy as np

from evsim.fixed.quantise import quantise


def network(kinds, dtype="float32", readout="linear", **options):
    """As `bundled.network`, with weaker recurrence where events are graded."""
    net = bundled.network(kinds, dtype, readout, **options)
    values = net.parameters()
    for k, kind in enumerate(kinds):
        if kind == "evrnn":
            values[f"layers.{k}.weight_rec"] *= net.dtype.type(0.1)
    net.load_parameters(values)
    return net


def inputs(steps=40, seed=0, n_in=bundled.N_IN):
    """Graded inputs, half of them 0."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (steps, n_in)) * (rng.random((steps, n_in)) < 0.5)


def events(steps=40, seed=0, n_in=bundled.N_IN):
    """Inputs of 0 and 1."""
    return (inputs(steps, seed, n_in) > 0).astype(np.float64)


def fixed_network(kinds, bits=8, state_bits=16, readout="linear", heard=inputs, **options):
    """A `FixedNetwork` whose scales are chosen on forty steps."""
    return quantise(network(kinds, readout=readout, **options), [heard()], bits, state_bits)
