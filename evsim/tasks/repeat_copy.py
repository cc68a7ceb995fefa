"""Repeat copy: vectors of bits are shown once, and have to be said again a given number of times, then an end marker.

From neural Turing machines (Graves, Wayne, Danihelka, arXiv:1410.5401), with the curriculum of synthetic gradients
(Jaderberg et al., arXiv:1608.05343), and laid out as in the code of "BP(lambda): Online Learning via Synthetic
Gradients" (TMLR 2024).
"""

import math

import numpy as np

from evsim.curriculum import Curriculum
from evsim.generated import TRAINING
from evsim.task import Count, Data


class RepeatCopy(Curriculum):
    """N vectors of bits, then the number R, then silence in which they are to be said R times in order.

    x: the bits; a mark at step 0, after which the vectors come; and R / 10 at step N + 1, behind the last of them. T is
    (R + 1) N + 3. y, told from step N + 2 on: the bits of the vectors, R times all N of them, and at the last step the
    end marker, an output of its own. A step is right where all of its outputs are. `chance` and `chance_loss` are those
    of who guesses the bits, right once in 2^bits times, but knows at which step the end comes.

    With a curriculum R + 1 follows on R where R < N, and N + 1 on N elsewhere.
    """

    name = "repeat-copy"
    options = {"symbols": Count(3), "repeats": Count(2), "bits": Count(4)} | Curriculum.options
    grows = ("symbols", "repeats")
    loss = "binary_cross_entropy"
    defaults = {**TRAINING, "units": 64, "density": 0.2, "epochs": 160}

    bits: int

    def __init__(self, **options):
        super().__init__(**options)
        self.n_in, self.n_out = self.bits + 2, self.bits + 1

    def _steps(self, symbols, repeats):
        return (repeats + 1) * symbols + 3

    def _after(self, symbols, repeats):
        return (symbols, repeats + 1) if repeats < symbols else (symbols + 1, repeats)

    def _enter(self, level):
        super()._enter(level)
        said = level[0] * level[1]
        self.chance = (said * 0.5**self.bits + 1) / (said + 1)
        self.chance_loss = math.log(2) * said * self.bits / ((said + 1) * (self.bits + 1))

    def sample(self, count, rng):
        """Draw `count` sequences."""
        (n, repeats), bits = self.at, self.bits
        shown = rng.integers(2, size=(count, n, bits))
        x = np.zeros((count, self.steps, bits + 2), np.float32)
        x[:, 0, bits] = 1
        x[:, 1 : n + 1, :bits] = shown
        x[:, n + 1, bits + 1] = repeats / 10
        y = np.zeros((count, self.steps, bits + 1), np.float32)
        y[:, n + 2 : -1, :bits] = np.tile(shown, (1, repeats, 1))
        y[:, -1, bits] = 1
        told = np.zeros((count, self.steps), bool)
        told[:, n + 2 :] = True
        return Data(x, y, mask=told)
