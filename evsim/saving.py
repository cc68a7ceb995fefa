"""Saving: a learner's state as arrays, and back."""

from typing import Any

import numpy as np

from evsim.forward import STEP
from evsim.saved import check_state, copy_slots, restore


class Saving:
    """Base of `evsim.learner.Learner` that writes its state down and takes it up again, bit for bit."""

    net: Any
    quiet: Any
    keeps: bool
    counts: Any
    _forward: Any
    _pressure: Any
    _counts: Any
    _gradient: Any
    _loss: Any
    _told: Any
    _delta: Any
    reset: Any
    _allocate: Any
    _check_masks: Any
    _make_room: Any
    _need: Any

    def state(self):
        """dict of arrays from which `load_state` continues bit for bit."""
        self._check_masks()
        forward = self._forward
        if self._open and not self.keeps:
            self._make_room(0, self.streams, self._open, 0)
            self._open = 0
        slots = copy_slots(self._slots(), self._open + 1, self.streams, self._told)
        return {
            "streams": np.array(self.streams), "stepped": np.array(self._stepped), "open": np.array(self._open),
            "stale": np.array(self._version != self.net.version),
            "gradient": self._gradient.copy(), "loss": self._loss.copy(), "counts": self.counts,
            "stored": forward.stored.copy(), "fresh": np.array(self._fresh), **slots, **self._pressed(),
        }  # fmt: skip

    def _pressed(self):
        """Name -> array of what `quiet` remembers."""
        if self._pressure is None:
            return {}
        return {"rate": self._pressure.rate.copy(), "penalty": self._pressure.penalty.copy()}

    def _slots(self):
        """Name -> array of those whose slots 0..open make up the state."""
        forward = self._forward
        found = {name: forward.arrays[name] for name in (STEP if self.keeps else ("y", "phi", "D"))}
        if not self.keeps:
            return found
        owed = ("pressed", "force", "force_q") if self.quiet else ()
        found |= {name: forward.arrays[name] for name in owed}
        return {**found, "x": forward.x, "told": self._told, "delta": self._delta}

    def load_state(self, state):
        """Continue from what `state` gave, for a learner of the same network and options.

        ValueError, and no change, if it is not for this one.
        """
        restore(self, state)

    def _load(self, state):
        capacity, steps = len(state["stored"]), int(state["open"])
        if capacity != self._forward.x.shape[0]:
            self._allocate(capacity, self._forward.slots)
        self.reset()
        self._need(steps)
        if not 0 <= steps <= self._forward.slots:
            raise ValueError(f"the learner's state has {steps} open steps, but there is room for {self._forward.slots}")
        wanted = self.state() | {name: array[:, : steps + 1] for name, array in self._slots().items()}
        check_state(state, wanted, lambda name, array: self._state_shapes(name, array, steps))
        if not 1 <= state["streams"] <= capacity:
            raise ValueError(f"the learner's state has {state['streams']} streams, but room for 1 to {capacity}")
        self.streams, self._stepped, self._open = int(state["streams"]), bool(state["stepped"]), steps
        self._fresh = bool(state["fresh"])
        self._version = self.net.version - int(state["stale"])
        self._forward.stored[:], self._gradient[:], self._loss[:] = state["stored"], state["gradient"], state["loss"]
        for name, array in self._slots().items():
            array[:, : steps + 1] = state[name]
        if self._pressure is not None:
            self._pressure.rate[:], self._pressure.penalty[:] = state["rate"], state["penalty"]
        self._begun = not self._fresh
        for count in self._counts:
            count[:] = 0
        self._counts[0][:] = state["counts"]

    def _state_shapes(self, name, array, steps):
        return (array.shape,)
