"""Need: what a network takes in fixed point, layer by layer: units, connections, bits, bytes.

Weights stand by source, as events are followed: each connection has one index of its target, which its channels share,
and each source says where its connections begin. Weights of 4 bits go two to a byte. Biases and local parameters are of
16 bits. A unit keeps what its equations keep (`Layer.kept`) and its event, in words of state_bits, and sums what it
hears in words of 32 bits, one for each channel. A readout is the last layer; all its connections exist, and need no
index.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.fixed.quantise import check_bits
from evsim.network import check_network
from evsim.program import trace

PARAMETER_BYTES = 2  # of a bias or a local parameter
SUM_BYTES = 4  # of what a channel hears
PARTS = ("weights", "index", "parameters", "state")


@dataclass
class LayerNeed:
    """What one layer takes.

    name: "layers.0" or "readout"; cell: its kind. units; sources: how many it may hear, inputs or units below and its
    own; channels: sums of a unit; states: numbers that it keeps beside its event; parameters: biases and local ones.
    graded: are events values; reset: how, or None; indexed: do connections need an index, or do all exist.
    decays: (name, values (n,)). connections (n,): sources that each unit hears; weights (n,): how many it has for them.
    fan_out (n,): hidden units that hear each unit, itself among them.
    """

    name: str
    cell: str
    units: int
    sources: int
    channels: int
    states: int
    parameters: int
    graded: bool
    reset: str | None
    indexed: bool
    connections: np.ndarray
    weights: np.ndarray
    fan_out: np.ndarray
    decays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def index_bytes(self):
        """Bytes of one index of a target."""
        return (1 if self.units <= 2**8 else 2) if self.indexed else 0

    def pointer_bytes(self, connections):
        """Bytes of the places where each source's connections begin, for so many connections."""
        return (self.sources + 1) * (2 if connections < 2**16 else 4) if self.indexed else 0

    def unit_bytes(self, bits, state_bits):
        """Bytes (n,) of each unit with all that it hears, pointers apart."""
        own = self.parameters * PARAMETER_BYTES + (self.states + 1) * state_bits // 8 + self.channels * SUM_BYTES
        return -(-self.weights * bits // 8) + self.connections * self.index_bytes + own

    def bytes(self, bits, state_bits):
        """dict of bytes by `PARTS`, of the whole layer in one memory."""
        words = (self.states + 1) * state_bits // 8 + self.channels * SUM_BYTES
        total = int(self.connections.sum())
        return {
            "weights": -(-int(self.weights.sum()) * bits // 8),
            "index": total * self.index_bytes + self.pointer_bytes(total),
            "parameters": self.units * self.parameters * PARAMETER_BYTES,
            "state": self.units * words,
        }


@dataclass
class Need:
    """What a network takes: inputs, outputs, layers, the readout last; weights have `bits`, states `state_bits`."""

    inputs: int
    outputs: int
    bits: int
    state_bits: int
    layers: list[LayerNeed]

    @property
    def units(self):
        """Hidden units."""
        return sum(layer.units for layer in self.layers[:-1])

    def bytes(self):
        """dict of bytes by `PARTS`, of all layers."""
        each = [layer.bytes(self.bits, self.state_bits) for layer in self.layers]
        return {part: sum(one[part] for one in each) for part in PARTS}

    def told(self) -> dict[str, Any]:
        """The same as plain numbers and strings."""
        return {
            "bits": self.bits, "state_bits": self.state_bits, "inputs": self.inputs, "units": self.units,
            "outputs": self.outputs, "weights": sum(int(layer.weights.sum()) for layer in self.layers),
            "bytes": self.bytes(), "layers": [self._told(layer) for layer in self.layers],
        }  # fmt: skip

    def _told(self, layer):
        return {
            "name": layer.name, "cell": layer.cell, "units": layer.units, "graded": layer.graded,
            "weights": int(layer.weights.sum()), "connections": int(layer.connections.sum()),
            "fan_in": most(layer.connections), "fan_out": most(layer.fan_out),
            "bytes": layer.bytes(self.bits, self.state_bits),
        }  # fmt: skip


def need(net, bits=8, state_bits=16):
    """The `Need` of an `evsim.Network` whose weights have so many bits (4, 8, 16), and its states (16, 32).

    ValueError for other numbers of bits, TypeError for what is no network.
    """
    check_bits(bits, state_bits)
    check_network(net)
    layers, heard = [], net.n_in
    for k, (cell, place) in enumerate(zip(net.stack, net.layout.layers, strict=True)):
        hidden = k < len(net.layers)
        above = net.layout.layers[k + 1].inp if k + 1 < len(net.layers) else None
        inputs, own = np.diff(place.inp.ptr), np.diff(place.rec.ptr)
        layers.append(LayerNeed(
            name=f"layers.{k}" if hidden else "readout", cell=cell.kind, units=cell.units,
            sources=heard + (cell.units if cell.rec_channels else 0), channels=len(cell.channels),
            states=_kept(cell), parameters=len(cell.channels) + len(cell.local),
            graded=hidden and is_graded(cell), reset=getattr(cell, "reset", None) if hidden else None, indexed=hidden,
            connections=inputs + own, weights=inputs * len(cell.in_channels) + own * len(cell.rec_channels),
            fan_out=_heard_by(cell.units, place.rec, above) if hidden else np.zeros(cell.units, int),
            decays={name: net.theta[place.local_at[:, q]].astype(float)
                    for q, name in enumerate(cell.local) if name in cell.decays},
        ))  # fmt: skip
        heard = cell.units
    if len(layers) == len(net.layers):
        hears = np.full(net.n_out, heard)
        layers.append(LayerNeed(
            "readout", "linear", net.n_out, heard, 1, 0, 1, False, None, False, hears, hears, np.zeros(net.n_out, int)
        ))  # fmt: skip
    return Need(net.n_in, net.n_out, bits, state_bits, layers)


def is_graded(cell):
    """Do events of this cell carry a value, other than 1."""
    program = trace(cell)
    return not program.is_binary(program.y)


def _kept(cell):
    """How many numbers a unit keeps, its event not among them."""
    program = trace(cell)
    return len({*program.kept} - {program.y})


def most(values):
    """The largest of whole numbers, 0 where there are none."""
    return int(np.max(values, initial=0))


def _heard_by(units, own, above):
    """How many hidden units hear each of so many: in its own layer, and in the one above."""
    counts = np.bincount(own.source, minlength=units)
    return counts if above is None else counts + np.bincount(above.source, minlength=units)
