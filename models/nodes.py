"""Nodes of NIR as snntorch's layers: the map that nirtorch needs to run a NIR graph there, recurrence included."""

import numpy as np
import torch
from torch import nn

from evsim.exports.nir_units import read_unit
from evsim.registry import load_optional


def snntorch_nodes(dt=1e-3):
    """The `node_map` with which `nirtorch.nir_to_torch(graph, node_map)` runs a NIR graph on snntorch, event for event.

    dt: seconds per step; evsim's files have it in metadata["dt"]. What comes out is called step by step,
    `y, state = module(x_t, state)` with x_t (batch, n_in) and no state at first. snntorch's own import of NIR sends the
    input through the recurrent weights (1.0.0), and nirtorch's own map loses the biases of Affine nodes (2.6).

    ValueError, once the graph is mapped, for nodes whose reset does not go to rest, decays outside [0, 1), and gains
    that are not above 0.
    """
    nir, snn = (load_optional(name, "snntorch_nodes") for name in ("nir", "snntorch"))

    def unit(node):
        found = read_unit(type(node).__name__, node.to_dict(), dt)
        return _Leak(found) if found.type == "LI" else _Spiking(snn, found)

    return {nir.LIF: unit, nir.CubaLIF: unit, nir.LI: unit, nir.Affine: _affine, nir.Linear: _affine}


class _Spiking(nn.Module):
    """snntorch's Leaky or Synaptic, with its state handed in and out: input (batch, n) -> events (batch, n)."""

    def __init__(self, snn, unit):
        super().__init__()
        given = {name: torch.from_numpy(np.array(value)) for name, value in unit.local.items()}
        kind = snn.Synaptic if "alpha" in given else snn.Leaky
        self.neuron = kind(**given, reset_mechanism="zero", reset_delay=False)

    def forward(self, x, state=None):
        if state is None:
            state = [torch.zeros_like(x)] * (2 if hasattr(self.neuron, "alpha") else 1)
        events, *state = self.neuron(x, *state)
        return events, state


class _Leak(nn.Module):
    """A leaky readout: out = kappa * out + gain * x, with (batch, n)."""

    def __init__(self, unit):
        super().__init__()
        self.register_buffer("kappa", torch.from_numpy(np.array(unit.local["kappa"])))
        self.register_buffer("gain", torch.from_numpy(unit.gain))

    def forward(self, x, state=None):
        out = self.gain * x + (0 if state is None else self.kappa * state)
        return out, out


def _affine(node):
    """nn.Linear, with a bias where the node has one."""
    weight, bias = torch.from_numpy(np.array(node.weight)), getattr(node, "bias", None)
    made = nn.Linear(*reversed(weight.shape), bias=bias is not None, dtype=weight.dtype)
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(torch.from_numpy(np.array(bias)))
    return made
