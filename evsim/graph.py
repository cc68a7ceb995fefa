"""What kernels read of a network: a row of numbers per layer, which channels are fed, and the edges by target."""

import numpy as np


def layer_table(net):
    """One row per layer of the stack: states, first unit, memory, fed input and recurrent channels, channels, trained
    local parameters."""
    rows = [
        (
            len(c.states), p.first, c.memory, len(c.in_channels), len(c.rec_channels), len(c.channels),
            len(c.trained()),
        )
        for c, p in zip(net.stack, net.layout.layers, strict=True)
    ]  # fmt: skip
    return np.array(rows, np.int64)


def fed_rows(net, side):
    """For each layer, the channels that `side` ("in_channels", "rec_channels") feeds, padded with 0."""
    return _rows([getattr(c, side) for c in net.stack])


def trained_rows(net):
    """For each layer, which of its local parameters are trained, padded with 0."""
    return _rows([[c.local.index(name) for name in c.trained()] for c in net.stack])


def by_target(net):
    """(layers, layer_of, edges by target: recurrent ptr, source, at, fed; input likewise; trained local parameters)."""
    cells, places = net.stack, net.layout.layers
    layer_of = np.repeat(np.arange(len(cells)), [c.units for c in cells])
    rec = _join([p.rec for p in places], [p.first for p in places])
    inp = _join([p.inp for p in places], [0, *(p.first for p in places[:-1])])
    return (
        layer_table(net), layer_of, *rec, fed_rows(net, "rec_channels"), *inp, fed_rows(net, "in_channels"),
        trained_rows(net),
    )  # fmt: skip


def _join(edges, first):
    """Edges of all layers in one: ptr, source (numbered over all units; inputs as they are), at."""
    sizes = np.cumsum([0, *(len(e.source) for e in edges)])
    ptr = np.concatenate([[0], *(e.ptr[1:] + s for e, s in zip(edges, sizes, strict=False))])
    source = np.concatenate([e.source + f for e, f in zip(edges, first, strict=True)])
    return ptr.astype(np.int64), source.astype(np.int64), np.concatenate([e.at for e in edges]).astype(np.int64)


def _rows(lists):
    table = np.zeros((len(lists), max(1, max(len(row) for row in lists))), np.int64)
    for k, row in enumerate(lists):
        table[k, : len(row)] = row
    return table
