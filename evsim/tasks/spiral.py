"""Spirals: clockwise or anticlockwise? The task of Subramoney (arXiv:2303.05641), split cleanly.

With tau in T = 17 equal steps from 0 to 2 pi and a random phase p in [0, 2 pi) for each sequence,

    x1 = sin(tau + p) / (1 + tau)    x2 = cos(tau + p) / (1 + tau)

and class 0 has x1 negated. The original draws its splits with repetition, so that they share sequences; here
every sequence is in one split only.
"""

import numpy as np

from evsim.task import Data, Task, fixed_order

_SEED = 230305641


class Spiral(Task):
    """10,000 sequences of 17 points, one output, read at the last step; balanced classes in each split."""

    name = "spiral"
    n_in = 2
    n_out = 1
    steps = 17
    loss = "binary_cross_entropy"
    chance = 0.5
    sizes = {"train": 7000, "validation": 1500, "test": 1500}
    defaults = {
        "cell": "egru",
        "units": 16,
        "layers": 1,
        "density": 0.5,
        "optimizer": "adam",
        "lr": 1e-2,
        "epochs": 4,
        "streams": 32,
        "schedule": "cosine",
    }

    def _make(self):
        count = sum(self.sizes.values())
        tau = np.linspace(0, 2 * np.pi, self.steps)
        phase = np.random.Generator(np.random.PCG64(_SEED)).uniform(0, 2 * np.pi, size=count)
        angle = tau + phase[:, None]  # (N, T)
        y = np.arange(count) % 2  # neighbours differ, so any even cut leaves the classes balanced
        turn = np.where(y == 1, 1.0, -1.0)[:, None]
        x = np.stack([turn * np.sin(angle), np.cos(angle)], axis=2) / (1 + tau)[:, None]
        splits, start = {}, 0
        for split, size in self.sizes.items():
            where = start + fixed_order(size, _SEED + start)
            splits[split] = Data(x[where].astype(np.float32), y[where, None].astype(np.float32))
            start += size
        return splits
