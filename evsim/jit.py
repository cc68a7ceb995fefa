"""The one way kernels are compiled: cached, without the GIL, floating point left in the order it is written."""

import numba

jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
