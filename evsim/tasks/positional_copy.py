"""Positional copy: symbols are shown at the start and asked for at the end, by a cue for each of them.

The variant in the code of Sorokin et al. (MemUP, arXiv:2207.13649): a cue says which symbol is asked for.
"""

from evsim.copying import Copying
from evsim.generated import TRAINING


class PositionalCopy(Copying):
    """n symbols, T - 2 n blanks, then n different cues, always in the same order."""

    name = "positional-copy"
    defaults = {**TRAINING, "units": 64, "density": 0.2, "epochs": 80}
    distinct = True
