"""Calibration: how far every value of a network goes on data, so that a format can be chosen for it."""

import numpy as np

from evsim.fixed.execute import Execution, by_length
from evsim.fixed.lower import FLOAT

BATCH = 256


class _Watched(Execution):
    """The parts in float64; most[k][place]: the largest |value| that an operation had."""

    def __init__(self, parts):
        super().__init__(parts)
        self.most = [np.zeros(len(part.program.ops)) for part in parts]
        self.weights = [[side.dense(part.units) for side in part.sides] for part in parts]

    def drive(self, k, heard, own):
        part = self.parts[k]
        channels = [np.broadcast_to(bias, (len(heard), part.units)) for bias in part.bias]
        for side, weight, z in zip(part.sides, self.weights[k], (heard, own), strict=False):
            for row, g in enumerate(side.fed):
                channels[g] = channels[g] + z @ weight[row]
        return channels

    def constant(self, k, index):
        return self.parts[k].constants[index]

    def compute(self, k, place, values):
        op = self.parts[k].program.ops[place]
        return FLOAT[op.head](*(values[part] for part in op.parts))

    def step(self, k, channels, kept):
        values = super().step(k, channels, kept)
        for place, value in enumerate(values):
            self.most[k][place] = max(self.most[k][place], np.abs(value).max(initial=0))
        return values


def ranges(parts, inputs):
    """For each part an array: the largest |value| of each operation of its program, over all steps of the inputs.

    inputs: list of (steps, n_in). ValueError if a value overflows float64.
    """
    watched = _Watched(parts)
    with np.errstate(over="ignore", invalid="ignore"):
        for x, _ in by_length(inputs):
            for start in range(0, len(x), BATCH):
                watched.run(x[start : start + BATCH].astype(np.float64))
    for part, most in zip(parts, watched.most, strict=True):
        if not np.isfinite(most).all():
            raise ValueError(f"{part.name} has values that are not finite on the data it was tried on: train it again")
    return watched.most
