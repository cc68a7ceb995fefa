"""Arrays of a learner: zeros, where it helps on a cache line; and how many bytes there would be, without any."""

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

LINE = 64  # bytes
_IMAGINED = ContextVar("imagined", default=False)


@contextmanager
def imagined():
    """Inside, arrays have their shapes and nbytes but take no room: what is made of them can be measured, not used."""
    token = _IMAGINED.set(True)
    try:
        yield
    finally:
        _IMAGINED.reset(token)


def zeros(shape, dtype) -> np.ndarray:
    """np.zeros."""
    if _IMAGINED.get():
        shape = tuple(int(n) for n in np.atleast_1d(shape))
        return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))
    return np.zeros(shape, dtype)


def aligned_zeros(shape, dtype) -> np.ndarray:
    """zeros whose first entry stands at a multiple of LINE bytes: long vector loads do not straddle two."""
    if _IMAGINED.get():
        return zeros(shape, dtype)
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + LINE, np.uint8)  # not np.zeros: numpy asks for large pages here alone
    raw[:] = 0
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + size].view(dtype).reshape(shape)


def count_bytes(space: Any) -> int:
    """Bytes of an array, of all in a list or tuple, or of an object's `arrays`."""
    if isinstance(space, np.ndarray):
        return space.nbytes
    return sum(count_bytes(part) for part in getattr(space, "arrays", space))


def parse_bytes(text) -> int:
    """Bytes from a text such as 4096, 512K, 64M, 2G, in powers of 1024; ValueError otherwise."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no amount of memory: give bytes, or as in 512K, 64M, 2G")
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))
    if size < 1:
        raise ValueError(f"{text!r} is no memory at all: give at least a byte")
    return size
