"""Table: sigmoid and tanh between integers, straight lines between points that lie evenly."""

from dataclasses import dataclass

import numpy as np

from evsim.fixed.format import Format
from evsim.program import SIGMOID

# Where each becomes level, and by bits of the state the logarithm of points per unit.
ENDS = {SIGMOID: 12, "tanh": 6}
POINTS = {SIGMOID: {16: 4, 32: 6}, "tanh": {16: 5, 32: 7}}


@dataclass(frozen=True)
class Table:
    """word: "sigmoid" or "tanh"; given: format of what goes in. What comes out has the same bits, all behind the point.

    Both are known from x >= 0 alone: sigmoid(-x) = 1 - sigmoid(x), tanh(-x) = -tanh(x). At most: 1 - 2**-(bits - 1).
    """

    word: str
    given: Format

    @property
    def out(self):
        return Format(self.given.bits, self.given.bits - 1)

    @property
    def density(self):
        """Points per unit, their logarithm."""
        return POINTS[self.word][self.given.bits]

    @property
    def shift(self):
        """Bits of a mantissa below the number of its segment; negative where the points lie closer than mantissas."""
        return self.given.frac - self.density

    def points(self):
        """The function at 0, 1, ... 2**-density, mantissas (int64)."""
        x = np.arange((ENDS[self.word] << self.density) + 1) / 2.0**self.density
        return self.out.quantise(1 / (1 + np.exp(-x)) if self.word == SIGMOID else np.tanh(x))

    def __call__(self, m):
        """The function of mantissas."""
        points, size = self.points(), np.abs(m)
        place = size >> self.shift if self.shift > 0 else size << -self.shift
        place = np.minimum(place, len(points) - 1)
        found = points[place]
        if self.shift > 0:
            rise = points[np.minimum(place + 1, len(points) - 1)] - found
            found = found + ((rise * (size & ((1 << self.shift) - 1)) + (1 << (self.shift - 1))) >> self.shift)
        below = (1 << (self.given.bits - 1)) - found if self.word == SIGMOID else -found
        return np.where(m < 0, below, found)


def widest(bits):
    """The largest frac that what goes into a table may have: it holds 2 at least."""
    return bits - 2
