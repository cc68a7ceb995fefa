"""Copy: symbols are shown at the start and asked for at the end, by cues that all look alike.

The form of Sorokin et al. (MemUP, arXiv:2207.13649, and its code), in which 10 symbols of 8 are copied over up to 5,000
blanks; after Hochreiter and Schmidhuber (1997) and Arjovsky et al. (arXiv:1511.06464).
"""

from evsim.copying import Copying
from evsim.generated import TRAINING


class Copy(Copying):
    """n symbols, T - 2 n blanks, then the same cue n times: one has to count to know which symbol is asked for."""

    name = "copy"
    defaults = {**TRAINING, "units": 64, "density": 0.2, "epochs": 80}
