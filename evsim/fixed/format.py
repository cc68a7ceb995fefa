"""Format: integers that stand for numbers, and the one rounding by which they pass from one format to another."""

import math
from dataclasses import dataclass

import numpy as np

SCALES = (-24, 46)  # of frac: from steps of 2**24 down to steps of 2**-46
FURTHEST = 62  # bits by which an int64 may be shifted


@dataclass(frozen=True)
class Format:
    """m stands for m * 2**-frac, and |m| <= 2**(bits - 1) - 1: as many negative as positive values."""

    bits: int
    frac: int

    @property
    def top(self):
        """The largest mantissa."""
        return 2 ** (self.bits - 1) - 1

    @classmethod
    def fit(cls, most, bits):
        """The finest format of so many bits that holds every |x| <= most. ValueError if none does."""
        top = 2 ** (bits - 1) - 1
        if not 0 <= most <= top * 2.0 ** -SCALES[0]:
            told = f"{most:g} is beyond {top * 2.0 ** -SCALES[0]:g}, the most that {bits} bits hold at any scale"
            raise ValueError(f"{told}: bring the parameters into range")
        frac = SCALES[1] if most == 0 else math.floor(math.log2(top) - math.log2(most))
        return cls(bits, min(frac, SCALES[1]))

    @classmethod
    def best(cls, values, bits):
        """The format of so many bits with the least squared error on `values`: one that holds all, or clips some.

        It is no more than three bits finer than `fit`: one value far larger than the rest leaves little of them.
        """
        values = np.asarray(values, np.float64)
        whole = cls.fit(float(np.abs(values).max(initial=0)), bits)
        finer = [cls(bits, whole.frac + k) for k in range(min(4, SCALES[1] - whole.frac + 1))]
        return min(finer, key=lambda one: float(((one.value(one.quantise(values)) - values) ** 2).sum()))

    def quantise(self, x):
        """Mantissas (int64) nearest to the numbers x, halves up; what does not fit saturates."""
        scaled = np.floor(np.ldexp(np.asarray(x, np.float64), self.frac) + 0.5)
        return np.clip(scaled, -self.top, self.top).astype(np.int64)

    def value(self, m):
        """The numbers (float64) that mantissas stand for."""
        return np.ldexp(np.asarray(m, np.float64), -self.frac)


BIT = Format(2, 0)  # of events: 0 or 1; and -1


def requantise(m, shift, bits):
    """Mantissas m (int64) times 2**-shift, to the nearest, halves up, saturated to so many bits.

    |m| is below 2**62; a negative shift multiplies.
    """
    m, top = np.asarray(m, np.int64), 2 ** (bits - 1) - 1
    if shift > FURTHEST:
        return np.zeros_like(m)
    if shift > 0:
        return np.clip((m + (1 << (shift - 1))) >> shift, -top, top)
    room = top >> -shift
    return np.where(np.abs(m) > room, np.sign(m) * top, np.clip(m, -room, room) << min(-shift, FURTHEST))


def common(one, other):
    """The frac at which two mantissas are added, or compared, in 64 bits.

    Exact if neither has more than 61 bits there: formats of 16 bits up to 45 apart, of 32 bits up to 29.
    """
    low, high = sorted((one.frac, other.frac))
    return min(high, low + 61 - max(one.bits, other.bits))


def align(m, given, frac):
    """Mantissas of the format `given` at `frac`, without saturation."""
    return m << (frac - given.frac) if frac >= given.frac else requantise(m, given.frac - frac, FURTHEST)
