"""Need: what a network takes in fixed point, layer by layer: units, connections, bits, bytes.

A side is what a layer hears: what is below, or its own events. Its weights stand by source, as events are followed:
each connection has an index of its target, which its channels share, and each source says where its connections begin;
where every source reaches every unit, neither is needed. Weights of 4 bits go two to a byte. Biases take 4 bytes, as
sums do, of which a unit has one for each channel; local parameters, what a unit keeps and its event are words of
state_bits, an event with an index of as many bits. So does the C of `evsim export --to c`, but that it shares the sums
of layers, and writes smaller numbers in smaller words.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evsim.fixed.quantise import check_bits
from evsim.network import check_network
from evsim.program import trace

SUM_BYTES = 4  # of a sum, or a bias
PARTS = ("weights", "index", "parameters", "state")


@dataclass
class Side:
    """What a layer of so many units hears. sources; connections (n,): how many of them each unit hears; fed: channels.

    Each connection has a weight for each channel that is fed.
    """

    sources: int
    connections: np.ndarray
    fed: int

    @property
    def dense(self):
        """Does every source reach every unit."""
        return bool((self.connections == self.sources).all())

    def index_bytes(self):
        """Bytes (n,) of the indices of each unit's connections."""
        return np.zeros_like(self.connections) if self.dense else self.connections * _width(len(self.connections) - 1)

    def pointer_bytes(self, connections):
        """Bytes of the places where each source's connections begin, for so many connections."""
        return 0 if self.dense else (self.sources + 1) * _width(connections)


@dataclass
class LayerNeed:
    """What one layer takes.

    name: "layers.0" or "readout"; cell: its kind. units; channels: sums of a unit; locals: parameters that it has for
    itself; numbers, flags: what it keeps, values and events. graded: are its events values; reset: how, or None;
    decays: name -> values (n,). sides. fan_out (n,): hidden units that hear each unit, itself among them.
    """

    name: str
    cell: str
    units: int
    channels: int
    locals: int
    numbers: int
    flags: int
    graded: bool
    reset: str | None
    sides: list[Side]
    fan_out: np.ndarray
    decays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def connections(self):
        """Sources that each unit hears (n,)."""
        return np.sum([side.connections for side in self.sides], axis=0)

    @property
    def weights(self):
        """How many weights each unit has for them (n,)."""
        return np.sum([side.connections * side.fed for side in self.sides], axis=0)

    def parameter_bytes(self, state_bits):
        """Of one unit's biases and local parameters."""
        return self.channels * SUM_BYTES + self.locals * state_bits // 8

    def state_bytes(self, state_bits):
        """Of what one unit keeps, its event or output, and its sums."""
        events = 1 if self.name == "readout" else 2
        return (self.numbers + events) * state_bits // 8 + self.flags + self.channels * SUM_BYTES

    def unit_bytes(self, bits, state_bits):
        """Bytes (n,) of each unit with all that it hears, pointers apart."""
        own = self.parameter_bytes(state_bits) + self.state_bytes(state_bits)
        return -(-self.weights * bits // 8) + sum(side.index_bytes() for side in self.sides) + own

    def bytes(self, bits, state_bits):
        """dict of bytes by `PARTS`, of the whole layer in one memory."""
        index = sum(int(side.index_bytes().sum()) for side in self.sides)
        return {
            "weights": sum(-(-int(side.connections.sum()) * side.fed * bits // 8) for side in self.sides),
            "index": index + sum(side.pointer_bytes(int(side.connections.sum())) for side in self.sides),
            "parameters": self.units * self.parameter_bytes(state_bits),
            "state": self.units * self.state_bytes(state_bits),
        }


@dataclass
class Need:
    """What a network takes: inputs, outputs, layers, the readout last; weights have `bits`, states `state_bits`.

    flash, ram: bytes of the C's tables and state, where they are known to the byte.
    """

    inputs: int
    outputs: int
    bits: int
    state_bits: int
    layers: list[LayerNeed]
    flash: int | None = None
    ram: int | None = None

    @property
    def units(self):
        """Hidden units."""
        return sum(layer.units for layer in self.layers[:-1])

    def bytes(self):
        """dict of bytes by `PARTS`, of all layers; flash: all but the state; ram: the state, or as they are known."""
        each = [layer.bytes(self.bits, self.state_bits) for layer in self.layers]
        found = {part: sum(one[part] for one in each) for part in PARTS}
        flash = sum(found.values()) - found["state"] if self.flash is None else self.flash
        return {**found, "flash": flash, "ram": found["state"] if self.ram is None else self.ram}

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
        sides = [Side(heard, np.diff(place.inp.ptr), len(cell.in_channels))]
        if cell.rec_channels:
            sides.append(Side(cell.units, np.diff(place.rec.ptr), len(cell.rec_channels)))
        numbers, flags = _kept(cell)
        layers.append(LayerNeed(
            name=f"layers.{k}" if hidden else "readout", cell=cell.kind, units=cell.units, channels=len(cell.channels),
            locals=len(cell.local), numbers=numbers if hidden else 0, flags=flags, graded=hidden and is_graded(cell),
            reset=getattr(cell, "reset", None) if hidden else None, sides=sides,
            fan_out=_heard_by(cell.units, place.rec, above) if hidden else np.zeros(cell.units, int),
            decays={name: net.theta[place.local_at[:, q]].astype(float)
                    for q, name in enumerate(cell.local) if name in cell.decays},
        ))  # fmt: skip
        heard = cell.units
    if len(layers) == len(net.layers):
        sides, silent = [Side(heard, np.full(net.n_out, heard), 1)], np.zeros(net.n_out, int)
        layers.append(LayerNeed("readout", "linear", net.n_out, 1, 0, 0, 0, False, None, sides, silent))
    return Need(net.n_in, net.n_out, bits, state_bits, layers)


def is_graded(cell):
    """Do events of this cell carry a value, other than 1."""
    program = trace(cell)
    return not program.is_binary(program.y)


def most(values):
    """The largest of whole numbers, 0 where there are none."""
    return int(np.max(values, initial=0))


def _kept(cell):
    """(values, events) that a unit keeps."""
    program = trace(cell)
    flags = sum(program.is_binary(place) for place in program.kept)
    return len(program.kept) - flags, flags


def _width(largest):
    """Bytes of a number without a sign."""
    return 1 if largest < 2**8 else 2 if largest < 2**16 else 4


def _heard_by(units, own, above):
    """How many hidden units hear each of so many: in its own layer, and in the one above."""
    counts = np.bincount(own.source, minlength=units)
    return counts if above is None else counts + np.bincount(above.source, minlength=units)
