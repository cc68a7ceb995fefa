"""BPTT: exact gradients by keeping the past; TBPTT: the same in windows of time. Event-driven in both directions."""

import numpy as np

from evsim.backward import Backward
from evsim.check import check_count
from evsim.learner import Learner
from evsim.memory import count_bytes, zeros
from evsim.segments import Segments


class BPTT(Learner):
    """Backpropagation through time (Werbos 1990) from the present back to the last reset.

    Every step since `reset` is kept, so memory grows with time, and each `gradients()` costs a sweep over all of it
    that holds a loss. Weights may change in mid-stream: those that were in force are kept too.
    """

    kind = "bptt"
    exact = True
    memory_claim = "O(n T): grows with the sequence, by the Steps of every unit; and P for each change of weights"
    cost_claim = "density * (activity + phi-rate) * n^2, and n"
    source = "Werbos: Backpropagation through time: what it does and how to do it (1990)"
    keeps = True
    slots = 32  # at the start

    def reset(self, streams=None):
        super().reset(streams)
        self._segments.forget(0)

    def state(self):
        self._segments.forget(self._open)
        held = self._segments
        return {**super().state(), "thetas": held.theta[: held.count].copy(), "now": np.array(held.now)}

    def _load(self, state):
        super()._load(state)
        self._segments.load(state["thetas"], int(state["now"]))

    def _state_shapes(self, name, array, steps):
        if name == "thetas":
            return [(n, array.shape[1]) for n in range(1, steps + 2)]
        return super()._state_shapes(name, array, steps)

    def _slots(self):
        return {**super()._slots(), "segment": self._segments.of}

    def _allocate(self, streams, slots):
        self._segments = Segments(self.net.theta, streams, slots)
        self._backward = Backward(self.net, streams)
        super()._allocate(streams, slots)

    def _workspace(self):
        return (*super()._workspace(), self._backward.workspace())

    def _engine_memory(self):
        back = self._backward
        return {
            "steps": self._segments.nbytes, "structure": count_bytes(back.structure), "state": back.lam.nbytes,
        }  # fmt: skip

    def _work_of(self, work):
        return work.sweep()

    def _need(self, steps):
        if self._open + steps > self._forward.slots:
            self._grow(max(2 * self._forward.slots, self._open + steps))

    def _grow(self, slots):
        """Room for more Steps; where there is not enough memory, nothing has changed."""
        names = "_labels", "_values", "_told", "_delta"
        *new, of = (_longer(old, slots) for old in (*(getattr(self, name) for name in names), self._segments.of))
        self._forward.grow(slots)
        vars(self).update(zip(names, new, strict=True))
        self._segments.of = of
        self._bind()

    def _weights_changed(self):
        self._segments.change(self.net.theta, self._open)

    def _learn(self, lo, hi, start, steps, worker):
        self._segments.of[lo:hi, start + 1 : start + steps + 1] = self._segments.now

    @property
    def _in_force(self):
        """Weights (segments, size), and which of them (streams, slots + 1) each slot was made with."""
        return self._segments.theta, self._segments.of

    def _settle(self, lo, hi, steps, worker):
        lam = self._backward.lam
        lam[lo:hi] = 0
        self._backward.sweep(
            lo, hi, 0, steps, *self._in_force, self._forward, self._told, self._delta, self._gradient, lam,
            self._spaces[worker][2], self._counts[worker],
        )  # fmt: skip

    def _read_past(self, lo, hi, lam, gradient, worker):
        """Add what lam, d target / d state before the open block, has to do with earlier steps: here nothing."""


def _longer(old, slots):
    new = zeros((len(old), slots + 1, *old.shape[2:]), old.dtype)
    new[:, : old.shape[1]] = old
    return new


class TBPTT(BPTT):
    """Truncated backpropagation through time (Williams and Peng 1990): states pass from window to window, derivatives
    do not.

    window: steps after which, counted from `reset`, the past is cut off. Weights may change within a window.
    """

    kind = "tbptt"
    exact = False
    drops = "what happened before the window a loss lies in"
    memory_claim = "O(n window), whatever the sequence's length; and P for each change of weights inside a window"
    source = "Williams and Peng: An efficient gradient-based algorithm for on-line training (1990)"

    def __init__(self, net, loss="cross_entropy", window=32, streams=1, threads=1, quiet=None):
        self.window = self.slots = check_count("window", window)
        super().__init__(net, loss, streams, threads, quiet)

    def config(self):
        return {**super().config(), "window": self.window}

    def _need(self, steps):
        """Windows are closed as they fill."""

    def _weights_changed(self):
        if self._open == self.window:
            self._spread(lambda lo, hi, worker: self._finish(lo, hi, self.window, worker))
            self._open = 0
        super()._weights_changed()

    def _close(self, lo, hi, steps, worker):
        forward = self._forward
        for cell, place in zip(self.net.stack, self.net.layout.layers, strict=True):
            forward.stored[lo:hi, place.first : place.first + place.units, len(cell.kept) :] = 0
        forward.phi[lo:hi, steps] = 0
        forward.D[lo:hi, steps] = 0
