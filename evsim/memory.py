"""Arrays that begin on a cache line, so that long vector loads do not straddle two."""

import numpy as np

LINE = 64  # bytes


def aligned_zeros(shape, dtype):
    """np.zeros whose first entry stands at a multiple of LINE bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + LINE, np.uint8)
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + size].view(dtype).reshape(shape)
