"""Execution: parts run step by step in an arithmetic that a subclass gives: numbers, or mantissas."""

import numpy as np

from evsim.fixed.lower import CONSTANT
from evsim.program import CHANNEL, KEPT


class Execution:
    """Runs `parts` from zero state on a batch of inputs of one length. A subclass says what a sum and an operation are.

    dtype: of all arrays.
    """

    dtype: type = np.float64

    def __init__(self, parts):
        self.parts = parts

    def drive(self, k, heard, own):
        """Pre-activations of part k: a list of (batch, units), one for each channel; own is None without recurrence."""
        raise NotImplementedError

    def constant(self, k, index):
        """A constant (units,) of part k."""
        raise NotImplementedError

    def compute(self, k, place, values):
        """The value (batch, units) of an operation of part k that is no leaf, from those before it."""
        raise NotImplementedError

    def run(self, x):
        """(out (batch, steps, n_out), for each layer its events (batch, steps, units)) from x (batch, steps, n_in)."""
        batch, steps, _ = x.shape
        silent = [np.zeros((batch, part.units), self.dtype) for part in self.parts]
        said = list(silent)
        kept = [[silent[k]] * len(part.program.kept) for k, part in enumerate(self.parts)]
        shown = [np.zeros((batch, steps, part.units), self.dtype) for part in self.parts]
        for t in range(steps):
            heard = x[:, t]
            for k, part in enumerate(self.parts):
                values = self.step(k, self.drive(k, heard, said[k]), kept[k])
                kept[k] = [values[place] for place in part.program.kept]
                said[k] = shown[k][:, t] = heard = values[part.program.y]
        return shown[-1], shown[:-1]

    def step(self, k, channels, kept):
        """The values of all operations of part k at one step."""
        values: list = []
        for place, op in enumerate(self.parts[k].program.ops):
            if op.head == CHANNEL:
                values.append(channels[op.index])
            elif op.head == KEPT:
                values.append(kept[op.index])
            elif op.head == CONSTANT:
                values.append(np.broadcast_to(self.constant(k, op.index), channels[0].shape))
            else:
                values.append(self.compute(k, place, values))
        return values


def by_length(inputs):
    """Sequences (steps, n_in) in batches (batch, steps, n_in) of one length each, and the places they come from."""
    lengths = np.array([len(x) for x in inputs])
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        yield np.stack([inputs[k] for k in places]), places
