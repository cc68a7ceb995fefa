"""Forward: runs the cells over a few time steps for many streams and keeps the Steps that learners read.

All layers' units share one numbering, bottom layer first. Buffers have axes (stream, slot, unit, ...): slot 0 holds the
last step before the present call, slots 1..h the steps of the call. A cell's kernel is called, with arrays and numbers
only, as

    kernel(lo, hi, steps,                     streams lo..hi-1; number of steps
           last, first,                       slot of the previous call's last step; the layer's first unit
           x, x_first,                        what the layer hears: x[b, t, x_first + j]
           in_ptr, in_target, in_at,          input edges by source, and where their weights stand in theta
           rec_ptr, rec_target, rec_at,       recurrent edges likewise
           bias_at, local_at,                 where biases (n) and local parameters (n, L) stand in theta
           in_channels, rec_channels, settings, theta,
           y, A, B, C, phi, D, stored,        what it writes: events, the Step, and what it stores for itself
           a, count)                          scratch (n, G) for pre-activations; the layer's row of counts
"""

import numpy as np

from evsim.opcount import new_count
from evsim.readout import read_out


class Forward:
    """State and Steps of `streams` independent sequences through one network, `chunk` steps at a time."""

    def __init__(self, net, streams, chunk):
        self.net = net
        self.chunk = chunk
        layout, cells, dtype = net.layout, net.stack, net.dtype
        units = layout.units
        k = max(len(c.states) for c in cells)
        g = max(len(c.channels) for c in cells)
        q = max(1, max(len(c.local) for c in cells))
        slots = (streams, chunk + 1)
        self.x = np.zeros((*slots, net.n_in), dtype)
        self.y = np.zeros((*slots, units), dtype)
        self.A = np.zeros((*slots, units, k, k), dtype)
        self.B = np.zeros((*slots, units, k, g), dtype)
        self.C = np.zeros((*slots, units, k, q), dtype)
        self.phi = np.zeros((*slots, units, k), dtype)
        self.D = np.zeros((*slots, units, q), dtype)
        self.out = np.zeros((*slots, net.n_out), dtype)
        self.stored = np.zeros((streams, units, max(1, max(c.stored for c in cells))), dtype)
        self.last = 0
        self._plans = [self._plan(level) for level in range(len(cells))]

    @property
    def arrays(self):
        """Name -> buffer, for counting memory."""
        names = ("x", "y", "A", "B", "C", "phi", "D", "out", "stored")
        return {name: getattr(self, name) for name in names}

    @property
    def structure(self):
        """The index arrays that kernels read."""
        shared = {id(a) for a in (*self.arrays.values(), self.net.theta)}
        return [a for _, given in self._plans for a in given if isinstance(a, np.ndarray) and id(a) not in shared]

    def workspace(self):
        """Scratch for one thread: one pre-activation array per layer."""
        return [np.zeros((cell.units, len(cell.channels)), self.net.dtype) for cell in self.net.stack]

    def reset(self):
        """All state, events and their derivatives to zero: new sequences begin."""
        self.last = 0
        self.stored[:] = 0
        for array in (self.y, self.phi, self.D):
            array[:, 0] = 0

    def advance(self, lo, hi, steps, last, workspace, count):
        """Run slots 1..steps of streams lo..hi-1, whose inputs stand in x; fills the Steps."""
        for level, (kernel, arguments) in enumerate(self._plans):
            kernel(lo, hi, steps, last, *arguments, workspace[level], count[level])

    def read_out(self, lo, hi, steps, count):
        """Fill out from the events of those slots."""
        read_out(lo, hi, steps, *self.net.layout.top, self.net.theta, self.y, self.out, count[-1])

    def sequences(self, x, record_events=False):
        """Run sequences x (N, T, n_in) one after the other, each from zero: out (N, T, n_out), events per layer."""
        out = np.zeros((*x.shape[:2], self.net.n_out), self.net.dtype)
        recorded = self.net.layers if record_events else ()
        events = [np.zeros((*x.shape[:2], cell.units), self.net.dtype) for cell in recorded]
        workspace, count = self.workspace(), new_count(len(self.net.layers))
        for s in range(len(x)):
            self.reset()
            for t in range(0, x.shape[1], self.chunk):
                h = min(self.chunk, x.shape[1] - t)
                self.x[0, 1 : h + 1] = x[s, t : t + h]
                self.advance(0, 1, h, self.last, workspace, count)
                self.read_out(0, 1, h, count)
                self.last = h
                out[s, t : t + h] = self.out[0, 1 : h + 1]
                for seen, place in zip(events, self.net.layout.layers, strict=False):
                    seen[s, t : t + h] = self.y[0, 1 : h + 1, place.first : place.first + place.units]
        return out, events

    def _plan(self, level):
        """A layer's kernel and those of its arguments that stay."""
        cell, place = self.net.stack[level], self.net.layout.layers[level]
        below = self.net.n_in if level == 0 else self.net.stack[level - 1].units
        x_first = 0 if level == 0 else self.net.layout.layers[level - 1].first
        return cell.kernel, (
            place.first, self.x if level == 0 else self.y, x_first,
            *place.inp.by_source(below), *place.rec.by_source(cell.units), place.bias_at, place.local_at,
            np.array(cell.in_channels, np.int64), np.array(cell.rec_channels, np.int64),
            np.array(cell.settings(), self.net.dtype), self.net.theta,
            self.y, self.A, self.B, self.C, self.phi, self.D, self.stored,
        )  # fmt: skip
