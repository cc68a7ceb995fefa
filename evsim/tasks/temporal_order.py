"""Temporal order: in which order did two symbols come, long ago and far apart? Or, are they different?

Experiment 6a of Hochreiter and Schmidhuber (Long short-term memory, 1997), with a length that is fixed; and its
exclusive or, about which neither symbol alone tells anything.
"""

import math

import numpy as np

from evsim.generated import TRAINING, GeneratedTask, one_hot
from evsim.task import Choice, Count, Data

_DISTRACTORS, _X, _BEGIN, _END = 4, 4, 6, 7


class TemporalOrder(GeneratedTask):
    """A mark, T - 2 symbols, another mark. Two symbols are X or Y, the others are drawn from four distractors.

    x, one-hot: the distractors 0..3, X, Y, begin, end. The two stand at a step of [T // 10, 2 T // 10) and one of
    [5 T // 10, 6 T // 10). y, told at the end: rule "order": XX, XY, YX, YY are classes 0, 1, 2, 3; rule "xor": class
    1 if the two differ, 0 otherwise.
    """

    name = "temporal-order"
    options = {"length": Count(30, 10), "rule": Choice(("order", "xor"))} | GeneratedTask.options
    n_in = 8
    loss = "cross_entropy"
    defaults = {**TRAINING, "units": 32, "density": 0.5, "epochs": 40}

    length: int
    rule: str

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = self.length
        self.n_out = 4 if self.rule == "order" else 2
        self.chance, self.chance_loss = 1 / self.n_out, math.log(self.n_out)

    def sample(self, count, rng):
        """Draw `count` sequences."""
        tokens = rng.integers(_DISTRACTORS, size=(count, self.steps))
        tokens[:, 0], tokens[:, -1] = _BEGIN, _END
        two = rng.integers(2, size=(count, 2))
        for k, window in enumerate(((1, 2), (5, 6))):
            where = rng.integers(*(part * self.steps // 10 for part in window), size=count)
            tokens[np.arange(count), where] = _X + two[:, k]
        y = 2 * two[:, 0] + two[:, 1] if self.rule == "order" else two[:, 0] ^ two[:, 1]
        return Data(one_hot(tokens, self.n_in), y)
