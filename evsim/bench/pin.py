"""Pin: one thread for everything that brings threads of its own. Imports nothing, for it must come before numpy."""

import os
import sys

BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def pin_threads():
    """Ask for one thread of each library. True if that surely holds, which it does not where numpy is in already."""
    held = "numpy" not in sys.modules or any(os.environ.get(name) == "1" for name in BLAS[:2])
    os.environ.update(dict.fromkeys(BLAS, "1"))
    return held
