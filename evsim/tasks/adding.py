"""Adding: the sum of two marked numbers among many. After Hochreiter and Schmidhuber (1997), as in Arjovsky et al.
(arXiv:1511.06464): one mark in each half."""

import numpy as np

from evsim.generated import TRAINING, GeneratedTask
from evsim.task import Count, Data


class Adding(GeneratedTask):
    """x_t = (u_t, mark_t), u_t uniform in [0, 1); one step of each half is marked with 1, the others with 0.

    The first half has T // 2 steps. y: the sum of the two marked numbers, told at the last step. Always answering 1,
    the mean, has an error of 1/6.
    """

    name = "adding"
    options = {"length": Count(20, 2)} | GeneratedTask.options
    n_in = 2
    n_out = 1
    loss = "mse"
    chance = None
    chance_loss = 1 / 6
    defaults = {**TRAINING, "units": 32, "density": 0.5, "epochs": 40}

    length: int

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = self.length

    def sample(self, count, rng):
        """Draw `count` sequences."""
        half, rows = self.steps // 2, np.arange(count)
        x = np.zeros((count, self.steps, 2), np.float32)
        x[:, :, 0] = rng.random((count, self.steps), dtype=np.float32)
        first, second = rng.integers(half, size=count), rng.integers(half, self.steps, size=count)
        x[rows, first, 1] = x[rows, second, 1] = 1
        return Data(x, (x[rows, first, 0] + x[rows, second, 0])[:, None])
