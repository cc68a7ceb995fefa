"""Ceilings: what this machine can do at best, measured here and by loops that share nothing with our kernels.

A multiply-add of the influence update reads one operand from wherever the tile lies, so its ceiling is the rate of
`squares`: one read and one fused multiply-add for each entry, with as many sums side by side as the compiler likes.
"""

import os
import time
from pathlib import Path

import numpy as np

from evsim.jit import jit_fused, jit_summed
from evsim.memory import aligned_zeros

SIZES = {"L1": 2**15, "L2": 2**20, "L3": 2**25}  # bytes, where the system does not say
FILL = {"L1": 0.5, "L2": 0.5, "L3": 0.25}  # how much of a level the buffer takes; L3 is shared
BEYOND = 2**29, 8  # a buffer that no cache holds: so many bytes, and so many times the last cache
PART = 1 / 8  # of the memory that is free, which it may take at most


@jit_summed
def squares(x, times, out):
    """Add the squares of x to out[0], so many times over."""
    total = out[0]
    for _ in range(times):
        for k in range(x.shape[0]):
            total += x[k] * x[k]
    out[0] = total


@jit_fused
def triad(a, b, c, factor):
    """a = b + factor[0] c."""
    f = factor[0]
    for k in range(a.shape[0]):
        a[k] = b[k] + f * c[k]


def measure_ceilings(quick=False):
    """dict: multiply-adds a second from each level, bytes a second of copy and triad, multiply-adds of sgemm.

    bytes: of the buffer that was read for each level; copy and triad use two and three of that for memory.
    """
    sizes = cache_sizes()
    places = {level: int(size * FILL[level]) for level, size in sizes.items()}
    places["memory"] = 2**20 if quick else large_buffer(sizes["L3"])
    found = {f"macs_{place}": squares_rate(size, quick) for place, size in places.items()}
    big = places["memory"] // 4
    a, b, c = (touched(big) for _ in range(3))
    half = np.full(1, 0.5, np.float32)
    found["copy_bytes"] = 8 * big / best_time(lambda: np.copyto(a, b), 5)
    found["triad_bytes"] = 12 * big / best_time(lambda: triad(a, b, c, half), 5)
    size = 128 if quick else 1536
    left, out = np.ones((size, size), np.float32), np.empty((size, size), np.float32)
    found["sgemm_macs"] = size**3 / best_time(lambda: np.matmul(left, left, out=out), 5)
    return {**found, "bytes": places}


def best_of(found, again):
    """Two measurements of the ceilings as one: a machine that others use shows its best but now and then."""
    return {name: value if name == "bytes" else max(value, again[name]) for name, value in found.items()}


def squares_rate(size, quick=False):
    """Multiply-adds a second over a buffer of so many bytes."""
    x, out = touched(size // 4), np.zeros(1, np.float32)
    times = max(1, (2**20 if quick else 2**27) // len(x))
    return times * len(x) / best_time(lambda: squares(x, times, out), 5)


def touched(entries):
    """Numbers that have been written: zeros that nobody wrote are one page of memory, read again and again."""
    x = aligned_zeros(entries, np.float32)
    x[:] = 1e-3
    return x


def large_buffer(last, free=None):
    """Bytes that a last cache of `last` bytes does not hold; less where there is no room for it."""
    least, times = BEYOND
    if free is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            free = 2**32  # not told: a common size
    return int(min(max(least, times * last), max(PART * free, 2 * last)))


def level_of(size, sizes=None):
    """The level that holds a working set of so many bytes."""
    sizes = sizes or cache_sizes()
    return next((level for level, most in sizes.items() if size <= most), "memory")


def cache_sizes():
    """Bytes of the first core's data caches by level; common sizes where the system does not say."""
    found, units = dict(SIZES), {"K": 2**10, "M": 2**20, "G": 2**30}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and f"L{level}" in found and size[-1:] in units:
            found[f"L{level}"] = int(size[:-1]) * units[size[-1]]
    return found


def best_time(work, turns):
    """Seconds of the quickest of some turns, after one that is not timed: a ceiling is what was reached once."""
    work()
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
