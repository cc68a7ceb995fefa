"""Copying: symbols are shown, and later asked for in the same order; what the copy tasks have in common."""

import math
from typing import Any

import numpy as np

from evsim.generated import GeneratedTask, one_hot
from evsim.task import Count, Data


class Copying(GeneratedTask):
    """n symbols of an alphabet of A are shown among blanks; the last n steps, of T, ask for them one by one.

    x, one-hot: the symbols 0..A-1, the blank A, and behind it the cues: n of them, A+1..A+n in this order, or one that
    comes n times. y, one class a step: the blank, A, at the first T - n steps, then the n symbols. Every step is told;
    the last n are the answers. Guessing a symbol is right once in A times, at a loss of ln A.
    """

    options = {"length": Count(20, 2), "symbols": Count(3), "alphabet": Count(8, 2)} | GeneratedTask.options
    loss = "cross_entropy"

    length: Any  # a whole number, or None where symbols alone decide
    symbols: int
    alphabet: int
    distinct = False  # is each cue a token of its own?

    def __init__(self, **options):
        super().__init__(**options)
        n, least = self.symbols, 2 * self.symbols
        if self.length < least:
            told = f"length={self.length} is too short: symbols={n} need {n} steps to be shown and {n} to be asked for"
            raise ValueError(f"{told}, so give a length of at least {least}, or fewer symbols")
        self.steps, self.shown = self.length, n
        self.n_in = self.alphabet + 1 + (n if self.distinct else 1)
        self.n_out = self.alphabet + 1
        self.chance, self.chance_loss = 1 / self.alphabet, math.log(self.alphabet)
        if not self.distinct:  # so many steps tell which of the cues it is
            self.torch_defaults = {"context": n + 1}

    def places(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return where the symbols stand, (count, n), rising in each row, below T - n; here the first n steps."""
        return np.broadcast_to(np.arange(self.shown), (count, self.shown))

    def sample(self, count, rng):
        """Draw `count` sequences."""
        n, blank, asked = self.shown, self.alphabet, self.steps - self.shown
        shown = rng.integers(self.alphabet, size=(count, n))
        tokens = np.full((count, self.steps), blank)
        np.put_along_axis(tokens, self.places(count, rng), shown, axis=1)
        tokens[:, asked:] = blank + 1 + (np.arange(n) if self.distinct else 0)
        y = np.full((count, self.steps), blank)
        y[:, asked:] = shown
        answers = np.zeros(y.shape, bool)
        answers[:, asked:] = True
        return Data(one_hot(tokens, self.n_in), y, answers=answers)
