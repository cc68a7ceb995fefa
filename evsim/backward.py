"""Backward: what the sweep needs of a network, and its scratch."""

import numpy as np

from evsim.graph import fed_rows, layer_table, trained_rows
from evsim.memory import zeros
from evsim.sweep import go_back, go_back_to_inputs


class Backward:
    """The way back through a learner's Steps; see `evsim.sweep`.

    Inputs are the sources 0..n_in-1 of feed-forward edges, unit u is source n_in + u.
    """

    def __init__(self, net, streams):
        self.net = net
        cells, layout = net.stack, net.layout
        in_edges, rec_edges, counts = [], [], [net.n_in, *(c.units for c in cells)]
        for k, place in enumerate(layout.layers):
            in_edges.append(place.inp.by_source(counts[k]))
            rec_edges.append(place.rec.by_source(place.units))
        firsts = [place.first for place in layout.layers]
        local_at = zeros((layout.units, max(1, max(len(c.local) for c in cells))), np.int64)
        for place in layout.layers:
            local_at[place.first : place.first + place.units, : place.local_at.shape[1]] = place.local_at
        self.graph = (
            layer_table(net), fed_rows(net, "in_channels"), fed_rows(net, "rec_channels"), trained_rows(net), net.n_in,
            *_join(in_edges, firsts, cells[-1].units), *_join(rec_edges, firsts),
            np.concatenate([place.bias_at for place in layout.layers]), local_at,
        )  # fmt: skip
        self.allocate(streams)

    def allocate(self, streams):
        """Room for that many streams' rows."""
        states = max(len(c.states) for c in self.net.stack)
        self.lam = zeros((streams, self.net.layout.units, states), self.net.dtype)

    @property
    def structure(self):
        """The index arrays that kernels read."""
        return [given for given in self.graph if isinstance(given, np.ndarray)]

    def workspace(self):
        """Scratch of one thread."""
        units, dtype = self.net.layout.units, self.net.dtype
        channels, states = max(len(c.channels) for c in self.net.stack), self.lam.shape[2]
        return zeros(units, dtype), zeros((units, channels), dtype), zeros(states, dtype)

    def sweep(
        self, lo, hi, start, steps, theta, segment, forward, told, delta, gradient, lam, space, count, d_x=None
    ):  # fmt: skip
        """Add to gradient what is told in slots start + 1..start + steps of streams lo..hi-1, and what lam says.

        lam (streams, units, K): d target / d state after them, replaced by that before them. d_x (streams, steps,
        n_in): zeros, for the derivative to their inputs, if wanted.
        """
        f = forward
        given = (
            lo, hi, start, steps, *self.graph, theta, segment, f.x, f.y, f.A, f.B, f.C, f.phi, f.D, told, delta,
            f.pressed, f.force, f.force_q, gradient, lam, *space,
        )  # fmt: skip
        if d_x is None:
            go_back(*given, count)
        else:
            go_back_to_inputs(*given, d_x, count)


def _join(edges, firsts, idle=0):
    """One CSR array by source from those of the layers, and `idle` sources without edges; targets over all units."""
    sizes = np.cumsum([0, *(one[-1] for one, _, _ in edges)])
    ptr = [[0], *(one[1:] + size for (one, _, _), size in zip(edges, sizes, strict=False)), [sizes[-1]] * idle]
    target = [t + first for (_, t, _), first in zip(edges, firsts, strict=True)]
    at = [at for _, _, at in edges]
    return tuple(np.concatenate(parts).astype(np.int64) for parts in (ptr, target, at))
