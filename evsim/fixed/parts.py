"""Parts: a network as whoever runs it elsewhere needs it: lowered programs, and synapses by source."""

from dataclasses import dataclass

import numpy as np

from evsim.fixed.lower import binary, lower
from evsim.program import Program


@dataclass
class Synapses:
    """Weights into one layer from one side: source j reaches target[ptr[j]:ptr[j + 1]], ascending.

    fed: channels that are fed, one column of weight (synapses, fed) each. Weights are float64, or mantissas (int64).
    """

    fed: tuple[int, ...]
    ptr: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    @property
    def sources(self):
        return len(self.ptr) - 1

    def dense(self, units):
        """The weights as (fed, sources, units), 0 where there is no synapse."""
        found = np.zeros((len(self.fed), self.sources, units), self.weight.dtype)
        found[:, np.repeat(np.arange(self.sources), np.diff(self.ptr)), self.target] = self.weight.T
        return found

    def largest(self, units):
        """For each target and fed channel, the sum of |weight|: (units, fed)."""
        found = np.zeros((units, len(self.fed)), self.weight.dtype)
        np.add.at(found, self.target, np.abs(self.weight))
        return found


@dataclass
class Part:
    """One layer, or the readout, the last. name: as its parameters are called; kept: names of what it keeps.

    inp, rec: synapses from what is below at the same step and from its own events of the step before; rec is None where
    there are none. bias: (channels, units). program, constants: as `evsim.fixed.lower.lower` gives them.
    """

    name: str
    kind: str
    units: int
    channels: tuple[str, ...]
    kept: tuple[str, ...]
    inp: Synapses
    rec: Synapses | None
    bias: np.ndarray
    program: Program
    constants: list[np.ndarray]

    @property
    def sides(self):
        """The synapses that there are."""
        return [side for side in (self.inp, self.rec) if side is not None]

    @property
    def is_readout(self):
        return self.name == "readout"

    @property
    def binary(self):
        """For each operation, whether its value is 0 or 1."""
        return binary(self.program)


class Stack:
    """What a list of parts, bottom to top and the readout last, takes and gives."""

    parts: list

    @property
    def n_in(self):
        return self.parts[0].inp.sources

    @property
    def n_out(self):
        return self.parts[-1].units


def divide(net):
    """The parts of an `evsim.Network`, bottom to top, the readout last; numbers in float64."""
    values, masks, parts = net.parameters(), net.masks(), []
    values = {name: value.astype(np.float64) for name, value in values.items()}
    for k, cell in enumerate(net.layers):
        name = f"layers.{k}"
        inp, rec = (
            _synapses(fed, values[f"{name}.weight_{side}"], masks[f"{name}.weight_{side}"][0])
            for side, fed in (("in", cell.in_channels), ("rec", cell.rec_channels))
        )
        parts.append(_part(name, cell, inp, rec, values[f"{name}.bias"], values))
    weight = values["readout.weight"]
    inp = _synapses((0,), weight[None], np.ones(weight.shape, bool))
    parts.append(_part("readout", net.readout, inp, None, values["readout.bias"][None], values))
    return parts


def _part(name, cell, inp, rec, bias, values):
    program, constants = lower(cell, [values[f"{name}.{one}"] for one in getattr(cell, "local", ())])
    channels, kept = getattr(cell, "channels", ("out",)), getattr(cell, "kept", ())
    return Part(name, cell.kind, bias.shape[1], channels, kept, inp, rec, bias, program, constants)


def _synapses(fed, weight, mask):
    """Synapses by source of weights (fed, units, sources) where mask (units, sources) is True."""
    source, target = np.nonzero(mask.T)
    ptr = np.concatenate([[0], np.cumsum(mask.sum(0))])
    return Synapses(tuple(fed), ptr.astype(np.int64), target.astype(np.int64), weight[:, target, source].T.copy())
