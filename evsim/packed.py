"""Packed: a network's parameters in the order in which the forward pass reads them, for inference.

In theta the weights that one source needs lie far apart, one in the segment of each of its targets. Here they are
neighbours: of each layer the input weights by source, channel after channel, the recurrent ones likewise, the biases
of each unit, and the local parameters, one after another; then the readout's weights by unit, and its biases. Kernels
find them as they do in theta (`evsim.forward`).
"""

from typing import NamedTuple

import numpy as np

from evsim.layout import INDEX


class Packed(NamedTuple):
    """places: where in theta the packed parameters stand; at: for each layer in_at, rec_at, bias_at, local_at; top: as
    `evsim.readout.read_out` has it."""

    places: np.ndarray
    top: tuple[int, int, int, bool]
    at: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def pack(net):
    """The Packed of a network; it depends on its masks alone, and is made once."""
    layout = net.layout
    if layout.packed is None:
        places, at, here = [], [], 0
        below = net.n_in
        for cell, place in zip(net.stack, layout.layers, strict=True):
            found = []
            for edges, sources, fed in (
                (place.inp, below, len(cell.in_channels)), (place.rec, cell.units, len(cell.rec_channels))
            ):  # fmt: skip
                weights = edges.by_source(sources)[2].astype(np.int64)
                places += [weights + g for g in range(fed)]
                found.append(np.array([here], INDEX))
                here += fed * len(weights)
            for parts in ((place.bias_at[:, None] + np.arange(len(cell.channels))), place.local_at.T):
                places.append(parts.ravel())
                found.append(here + np.arange(parts.size).reshape(parts.shape))
                here += parts.size
            inp, rec, bias, local = found
            at.append((inp, rec, bias[:, 0].astype(INDEX), np.ascontiguousarray(local.T, INDEX)))
            below = cell.units
        first, units, weight_at = layout.top
        if weight_at >= 0:
            readout = weight_at + np.arange(net.n_out * (units + 1))
            places += [readout[: -net.n_out].reshape(net.n_out, units).T.ravel(), readout[-net.n_out :]]
            weight_at = here
        layout.packed = Packed(np.concatenate(places), (first, units, weight_at, True), at)
    return layout.packed
