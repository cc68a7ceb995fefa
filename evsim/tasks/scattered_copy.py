"""Scattered copy: symbols come at random steps among blanks and are asked for at the end.

Named by Sorokin et al. (MemUP, arXiv:2207.13649), whose released code does not hold it: this is the usual form.
"""

import numpy as np

from evsim.copying import Copying
from evsim.generated import TRAINING
from evsim.task import Choice


class ScatteredCopy(Copying):
    """n symbols at different steps below T - n, every choice of steps being as likely, then n cues.

    cues "distinct": one for each symbol, as in positional copy; "identical": the same n times, as in copy.
    """

    name = "scattered-copy"
    options = {"cues": Choice(("distinct", "identical"))} | Copying.options
    defaults = {**TRAINING, "units": 64, "density": 0.2, "epochs": 80}

    cues: str

    @property
    def distinct(self):
        """Is each cue a token of its own?"""
        return self.cues == "distinct"

    def places(self, count, rng):
        """Return steps without repetition, (count, n), rising in each row."""
        n, free = self.symbols, self.steps - self.symbols
        return np.sort(np.argpartition(rng.random((count, free)), n - 1, axis=1)[:, :n], axis=1)
