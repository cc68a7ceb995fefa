"""Delayed recall: which symbol was cued at the start? Distractors fill the delay, so that holding has to be learnt.

The plainest test of credit over a delay: blanks in their place would let a network learn to hold within a few steps.
"""

import math

import numpy as np

from evsim.generated import TRAINING, GeneratedTask, one_hot
from evsim.task import Count, Data


class DelayedRecall(GeneratedTask):
    """T = D + 1 steps, D being the delay: a cued symbol at step 0, D - 1 symbols without a cue, the query at step D.

    x: the symbol, one-hot over an alphabet of A, then the cue (1 at step 0 only) and the query (1 at step D only, where
    there is no symbol). y: the symbol of step 0, told at the query. Guessing costs ln A: with A = 2, one bit.
    """

    name = "delayed-recall"
    options = {"length": Count(9, 2), "alphabet": Count(2, 2)} | GeneratedTask.options
    loss = "cross_entropy"
    defaults = {**TRAINING, "units": 32, "density": 0.5, "epochs": 20}

    length: int
    alphabet: int

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = self.length
        self.n_in, self.n_out = self.alphabet + 2, self.alphabet
        self.chance, self.chance_loss = 1 / self.alphabet, math.log(self.alphabet)

    def sample(self, count, rng):
        """Draw `count` sequences."""
        symbols = rng.integers(self.alphabet, size=(count, self.steps - 1))
        x = np.zeros((count, self.steps, self.n_in), np.float32)
        x[:, :-1, : self.alphabet] = one_hot(symbols, self.alphabet)
        x[:, 0, self.alphabet] = 1
        x[:, -1, self.alphabet + 1] = 1
        return Data(x, symbols[:, 0])
