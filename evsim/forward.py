"""Forward: runs the cells over a few time steps for many streams and keeps the Steps that learners read.

All layers' units share one numbering, bottom layer first. Buffers have axes (stream, slot, unit, ...): slots 1..slots
hold Steps, slot 0 what the units showed before them. A cell's kernel is called, with arrays and numbers only, as

    kernel(lo, hi, start, steps,              streams lo..hi-1, slots start + 1..start + steps
           learn,                             0: events are all that is wanted, and A, B, C, phi and D have no room;
                                              1: these events, and counted how many phi are not 0; 2: the Step;
                                              3: the Step, and how far units are above their thresholds
           first,                             the layer's first unit
           x, x_first,                        what the layer hears: x[b, t, x_first + j]
           in_ptr, in_target, in_at,          input edges by source, and where their weights stand in theta
           rec_ptr, rec_target, rec_at,       recurrent edges likewise
           bias_at, local_at,                 where biases (n) and local parameters (n, L) stand in theta
           in_channels, rec_channels, settings, theta,
           y, A, B, C, phi, D, stored,        what it writes: events, the Step, and what it stores for itself;
           gap, gap_s, gap_q,                 what the event's Heaviside step is taken of and its pseudo-derivative,
                                              and the derivatives of the former to states and local parameters
           a, active, count)                  scratch (G, n) for pre-activations, and for a list of units or inputs;
                                              the layer's row of counts
"""

from dataclasses import replace

import numpy as np

from evsim.drive import carry_over
from evsim.jit import bind
from evsim.layout import INDEX
from evsim.memory import zeros
from evsim.opcount import new_count
from evsim.packed import pack
from evsim.readout import read_out

STEP = ("y", "A", "B", "C", "phi", "D")  # what a Step is made of, beside the inputs
SETTINGS = 14  # place of a layer's settings among its kernel's arguments, after the four numbers
PRESSED = ("gap", "gap_s", "gap_q", "charged", "pressed", "force", "force_q")  # what `evsim.pressure` reads and writes


class Forward:
    """State of `streams` independent sequences through one network, and room for `slots` of their Steps.

    detach: resets without the event's derivative, as if every layer had detach_reset. learn: below 2 for inference,
    with the parameters as they are now: events and outputs are the same bit for bit, and Steps have no room. 3: for
    learners that are told to keep units quiet (`evsim.pressure`).
    """

    def __init__(self, net, streams, slots, detach=False, learn=2):
        self.net, self._detach, self._learn = net, detach, learn
        layout, cells, dtype = net.layout, net.stack, net.dtype
        units = layout.units
        k = max(len(c.states) for c in cells)
        g = max(len(c.channels) for c in cells)
        q = max(1, max(len(c.local) for c in cells))
        self._tails = {
            "x": (net.n_in,), "y": (units,), "A": (units, k, k), "B": (units, k, g), "C": (units, k, q),
            "phi": (units, k), "D": (units, q), "out": (net.n_out,), "gap": (units, 2), "gap_s": (units, k),
            "gap_q": (units, q), "charged": (), "pressed": (), "force": (units, k), "force_q": (units, q),
        }  # fmt: skip
        self._theta, self._top = net.theta, (*layout.top, False)
        absent = STEP[1:] if learn < 2 else ()
        absent += PRESSED if learn < 3 else ()
        self._tails |= {name: (0,) * len(self._tails[name]) for name in absent}
        if learn < 3:
            self._tails["charged"] = (0,)
        if learn < 2:
            self._tails["pressed"] = (0,)
            self._theta, self._top = net.theta[pack(net).places], pack(net).top
        kinds = {"charged": np.bool_, "pressed": np.bool_}
        self.arrays = {
            name: zeros((streams, slots + 1, *tail), kinds.get(name, dtype)) for name, tail in self._tails.items()
        }
        self.stored = zeros((streams, units, max(1, max(c.stored for c in cells))), dtype)
        self._spread()

    @property
    def slots(self):
        """How many Steps there is room for."""
        return self.x.shape[1] - 1

    @property
    def structure(self):
        """The index arrays that kernels read."""
        shared = {id(a) for a in (*self.arrays.values(), self.stored, self._theta)}
        return [a for _, given in self._plans for a in given if isinstance(a, np.ndarray) and id(a) not in shared]

    def workspace(self):
        """Scratch for one thread: of each layer its pre-activations, and a list of who speaks."""
        longest = max(self.net.n_in, *(cell.units for cell in self.net.stack))
        pre = [zeros((len(cell.channels), cell.units), self.net.dtype) for cell in self.net.stack]
        return pre, zeros(longest, INDEX)

    def grow(self, slots):
        """Make room for more Steps; those that are there stay."""
        new = {name: zeros((len(old), slots + 1, *old.shape[2:]), old.dtype) for name, old in self.arrays.items()}
        for name, old in self.arrays.items():
            new[name][:, : old.shape[1]] = old
        self.arrays = new
        self._spread()

    def refresh(self):
        """Heed that layers' pseudo-derivatives have changed (`Network.set_half_width`); False if they have not."""
        if self._layers is self.net.layers:
            return False
        self._layers = self.net.layers
        for (_, given), cell in zip(self._plans, self.net.stack, strict=True):
            given[SETTINGS][:] = self._settings(cell)
        return True

    def reset(self):
        """All state, events and their derivatives to zero: new sequences begin."""
        self.stored[:] = 0
        for array in (self.y, self.phi, self.D):
            array[:, 0] = 0

    def carry_over(self, lo, hi, last):
        """Make what streams lo..hi-1 showed in slot `last` the past of slot 1."""
        carry_over(lo, hi, last, self.y, self.phi, self.D)

    def calls(self, workspace, count):
        """The layers' kernels, bottom-up, as functions of lo, hi, start and steps (`evsim.jit.bind`)."""
        pre, active = workspace
        return [
            bind(kernel, (*arguments, pre[level], active, count[level]))
            for level, (kernel, arguments) in enumerate(self._plans)
        ]

    def advance(self, lo, hi, start, steps, workspace, count):
        """Run slots start + 1..start + steps of streams lo..hi-1, whose inputs stand in x; fills the Steps."""
        pre, active = workspace
        for level, (kernel, arguments) in enumerate(self._plans):
            kernel(lo, hi, start, steps, *arguments, pre[level], active, count[level])

    def read_out(self, lo, hi, start, steps, workspace, count):
        """Fill out from the events of those slots."""
        read_out(lo, hi, start, steps, *self._top, self._theta, self.y, self.out, workspace[1], count[-1])

    def infer(self, x, workspace, count):
        """Run sequences x (N, T, n_in), as many as there are streams or fewer, from zero.

        Yields (out (N, h, n_out), events (N, h, units)) for h steps after another, as views.
        """
        starts = range(0, x.shape[1], self.slots)
        return self.follow((x[:, t : t + self.slots] for t in starts), workspace, count)

    def follow(self, pieces, workspace, count):
        """Run sequences from zero whose inputs come in pieces (N, h, n_in) of `slots` steps, the last perhaps fewer.

        Yields as `infer` does.
        """
        self.reset()
        for k, x in enumerate(pieces):
            n, h = x.shape[:2]
            if k:
                self.carry_over(0, n, self.slots)
            self.x[:n, 1 : h + 1] = x
            self.advance(0, n, 0, h, workspace, count)
            self.read_out(0, n, 0, h, workspace, count)
            yield self.out[:n, 1 : h + 1], self.y[:n, 1 : h + 1]

    def sequences(self, x, record_events=False):
        """Run sequences x (N, T, n_in) one after the other, each from zero: out (N, T, n_out), events per layer."""
        out = zeros((*x.shape[:2], self.net.n_out), self.net.dtype)
        recorded = self.net.layers if record_events else ()
        events = [zeros((*x.shape[:2], cell.units), self.net.dtype) for cell in recorded]
        workspace, count = self.workspace(), new_count(len(self.net.layers))
        for s in range(len(x)):
            t = 0
            for found, spoken in self.infer(x[s : s + 1], workspace, count):
                here = slice(t, t + found.shape[1])
                out[s, here] = found[0]
                for seen, place in zip(events, self.net.layout.layers, strict=False):
                    seen[s, here] = spoken[0, :, place.first : place.first + place.units]
                t = here.stop
        return out, events

    def _spread(self):
        """Name the arrays, and plan the kernels' calls with them."""
        self._layers = self.net.layers
        self.x, self.out = self.arrays["x"], self.arrays["out"]
        self.y, self.A, self.B, self.C, self.phi, self.D = (self.arrays[name] for name in STEP)
        self.gap, self.gap_s, self.gap_q, self.charged, self.pressed, self.force, self.force_q = (
            self.arrays[name] for name in PRESSED
        )
        self._plans = [self._plan(level) for level in range(len(self.net.stack))]

    def _plan(self, level):
        """A layer's kernel and those of its arguments that stay."""
        cell, place = self.net.stack[level], self.net.layout.layers[level]
        below = self.net.n_in if level == 0 else self.net.stack[level - 1].units
        x_first = 0 if level == 0 else self.net.layout.layers[level - 1].first
        in_ptr, in_target, in_at = place.inp.by_source(below)
        rec_ptr, rec_target, rec_at = place.rec.by_source(cell.units)
        bias_at, local_at = place.bias_at.astype(INDEX), place.local_at.astype(INDEX)
        if self._learn < 2:
            in_at, rec_at, bias_at, local_at = pack(self.net).at[level]
        return cell.kernel, (
            self._learn, place.first, self.x if level == 0 else self.y, x_first,
            in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, local_at,
            np.array(cell.in_channels, np.int64), np.array(cell.rec_channels, np.int64),
            np.array(self._settings(cell), self.net.dtype), self._theta,
            self.y, self.A, self.B, self.C, self.phi, self.D, self.stored, self.gap, self.gap_s, self.gap_q,
        )  # fmt: skip

    def _settings(self, cell):
        detached = self._detach and hasattr(cell, "detach_reset")
        return (replace(cell, detach_reset=True) if detached else cell).settings()
