"""Where every parameter stands in the one flat vector theta, which is also the order of the columns of M.

    theta = [ units of layer 0 | units of layer 1 | ... | readout weight (n_out, n) | readout bias | untrained ]

A readout with memory is a layer of the stack, the last one.

A unit's own segment holds, without gaps: its existing input weights, source by source, the fed channels of a source
together; its existing recurrent weights likewise; its biases, one per channel; its trained local parameters. Within a
layer, units stand sorted by the set of units they can influence, so that columns with the same rows are neighbours.
Local parameters that are not trained stand behind everything that is.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evsim.structure import reachable

INDEX = np.uint32  # of what the forward pass looks up: an index without a sign needs no test for being negative


@dataclass
class Edges:
    """Edges into one layer, by target: unit i hears source[ptr[i]:ptr[i + 1]]; weights stand in theta from `at` on."""

    ptr: np.ndarray
    source: np.ndarray
    at: np.ndarray
    sorted: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # the same by source, once somebody has asked

    def by_source(self, sources):
        """(ptr, target, at) with the edges of each of that many sources together, targets ascending; made once."""
        if self.sorted is None:
            order = np.argsort(self.source, kind="stable")
            target = np.repeat(np.arange(len(self.ptr) - 1), np.diff(self.ptr))[order]
            ptr = np.concatenate([[0], np.cumsum(np.bincount(self.source, minlength=sources))])
            self.sorted = ptr.astype(INDEX), target.astype(INDEX), self.at[order].astype(INDEX)
        return self.sorted


@dataclass
class LayerLayout:
    """Places of one layer's parameters: biases of unit i from bias_at[i] on, local parameter q at local_at[i, q].

    names: what the network calls the layer's weight_in, weight_rec, bias and local parameters.
    """

    names: dict[str, str]
    first: int
    units: int
    rec: Edges
    inp: Edges
    bias_at: np.ndarray
    local_at: np.ndarray


@dataclass
class Layout:
    """The whole map; `names` gives for each parameter its dense shape, its places there and its places in theta."""

    layers: list[LayerLayout] = field(default_factory=list)
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # units in the order of their segments
    start: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # of each unit's segment
    width: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    set_of_unit: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sets: list = field(default_factory=list)
    names: dict = field(default_factory=dict)
    untrained: set = field(default_factory=set)
    unit_columns: int = 0  # columns of M
    trained: int = 0  # unit_columns and the readout's parameters
    size: int = 0
    top: tuple[int, int, int] = (0, 0, 0)  # what is read out: first unit, units, weights in theta (-1: `read_out`)
    packed: Any = None  # what `evsim.packed` makes of it

    @property
    def units(self):
        return len(self.start)

    @cached_property
    def sizes(self):
        """How many parameters are trained: of each layer and, last, of the readout."""
        found: dict[str, int] = {}
        for name, (_, _, places) in self.names.items():
            owner = name.rpartition(".")[0]
            found[owner] = found.get(owner, 0) + (0 if name in self.untrained else len(places))
        return np.array([*(found[owner] for owner in found if owner != "readout"), found["readout"]])

    @cached_property
    def weights(self):
        """Which trained parameters are weights, neither biases nor local parameters: boolean (trained,)."""
        found = np.zeros(self.trained, bool)
        for name, (_, _, places) in self.names.items():
            if name.rpartition(".")[2].startswith("weight"):
                found[places] = True
        return found


def build_layout(cells, masks, n_out=0):
    """Layout for a stack of layers with masks[l] = (mask_in (n, m), mask_rec (n, n)), boolean.

    n_out: outputs of a readout without memory, which stands behind the stack; 0: the last layer is the readout.
    """
    out = Layout()
    firsts = np.concatenate([[0], np.cumsum([c.units for c in cells])]).astype(np.int64)
    sources, targets = [], []
    for k, (mask_in, mask_rec) in enumerate(masks):
        i, j = np.nonzero(mask_rec)
        sources.append(firsts[k] + j)
        targets.append(firsts[k] + i)
        if k:
            i, j = np.nonzero(mask_in)
            sources.append(firsts[k - 1] + j)
            targets.append(firsts[k] + i)
    units = int(firsts[-1])
    out.set_of_unit, out.sets = reachable(units, np.concatenate(sources), np.concatenate(targets))
    layer_of = np.repeat(np.arange(len(cells)), [c.units for c in cells])
    out.order = np.lexsort((np.arange(units), out.set_of_unit, layer_of))
    out.width = np.zeros(units, np.int64)
    for k, (cell, (mask_in, mask_rec)) in enumerate(zip(cells, masks, strict=True)):
        here = slice(firsts[k], firsts[k + 1])
        out.width[here] = mask_in.sum(1) * len(cell.in_channels) + mask_rec.sum(1) * len(cell.rec_channels)
        out.width[here] += len(cell.channels) + len(cell.trained())
    out.start = np.zeros(units, np.int64)
    out.start[out.order] = np.cumsum(out.width[out.order]) - out.width[out.order]
    out.unit_columns = int(out.width.sum())
    top = cells[-1].units
    out.trained = out.size = out.unit_columns + n_out * (top + 1)
    for k, cell in enumerate(cells):
        _place_layer(out, _names(k, cell, not n_out and k == len(cells) - 1), cell, masks[k], int(firsts[k]))
    out.top = (int(firsts[-2]), top, out.unit_columns if n_out else -1)
    if n_out:
        weights = np.arange(n_out * top)
        out.names["readout.weight"] = ((n_out, top), weights, out.unit_columns + weights)
        out.names["readout.bias"] = ((n_out,), np.arange(n_out), out.unit_columns + n_out * top + np.arange(n_out))
    return out


def _names(k, cell, is_readout):
    """A layer's name of each of its parameters -> the network's."""
    if is_readout:
        return {"weight_in": "readout.weight", **{name: f"readout.{name}" for name in ("bias", *cell.local)}}
    return {name: f"layers.{k}.{name}" for name in ("weight_in", "weight_rec", "bias", *cell.local)}


def _place_layer(out, names, cell, masks, first):
    n = cell.units
    lead = 1 if "weight_rec" in names else 0  # a readout's weights and biases have no axis of channels
    mask_in, mask_rec = masks
    start = out.start[first : first + n]
    inp = _edges(mask_in, start, len(cell.in_channels))
    rec_start = start + mask_in.sum(1) * len(cell.in_channels)
    rec = _edges(mask_rec, rec_start, len(cell.rec_channels))
    bias_at = rec_start + mask_rec.sum(1) * len(cell.rec_channels)
    for name, mask, edges, fed in (
        ("weight_in", mask_in, inp, len(cell.in_channels)),
        ("weight_rec", mask_rec, rec, len(cell.rec_channels)),
    )[: 1 + lead]:
        flat = np.flatnonzero(mask)
        dense = np.concatenate([g * mask.size + flat for g in range(fed)])
        places = np.concatenate([edges.at + g for g in range(fed)])
        out.names[names[name]] = ((fed, *mask.shape)[1 - lead :], dense, places)
    channels = len(cell.channels)
    places = (bias_at[None, :] + np.arange(channels)[:, None]).ravel()
    out.names[names["bias"]] = ((channels, n)[1 - lead :], np.arange(channels * n), places)
    local_at = np.zeros((n, len(cell.local)), np.int64)
    behind = bias_at + channels
    for q, name in enumerate(cell.local):
        if name in cell.trained():
            local_at[:, q] = behind
            behind = behind + 1
        else:
            local_at[:, q] = out.size + np.arange(n)
            out.size += n
            out.untrained.add(names[name])
        out.names[names[name]] = ((n,), np.arange(n), local_at[:, q])
    out.layers.append(LayerLayout(names, first, n, rec, inp, bias_at.astype(np.int64), local_at))


def _edges(mask, start, fed):
    ptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int64)
    source = np.nonzero(mask)[1].astype(np.int64)
    within = np.arange(len(source)) - np.repeat(ptr[:-1], np.diff(ptr))
    at = np.repeat(start, np.diff(ptr)) + fed * within
    return Edges(ptr, source, at.astype(np.int64))
