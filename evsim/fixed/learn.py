"""Learning the readout in fixed point: the golden model of stochastic gradient descent on its weights, in integers.

Each weight and bias is a mantissa of 32 bits whose upper 16, rounded, are what the outputs are computed with: updates
too small to show at once add up. Softmax and sigmoid come from tables of straight lines.
"""

from dataclasses import dataclass

import numpy as np

from evsim.check import check_choice
from evsim.fixed.format import Format, align, requantise
from evsim.fixed.golden import Golden
from evsim.fixed.table import Table, widest
from evsim.loss import KINDS
from evsim.program import SIGMOID

BELOW = 16  # bits of a weight that the outputs do not see
ERROR = 15  # frac of d loss / d out
GRADIENT = Format(32, 20)
RATE = Format(32, 20)
ROOM = 4  # how many times as large as at first weights and outputs may become
EXP_END, EXP_POINTS = 16, 4  # of the table of 1 - exp(-x): where it becomes level; the logarithm of points per unit


@dataclass(frozen=True)
class Learned:
    """Formats of a readout that learns. weight: of 16 bits, as outputs see it; y: of events; out: of outputs."""

    weight: Format
    y: Format
    out: Format
    loss: str

    @property
    def latent(self):
        """Format of what is stored."""
        return Format(32, self.weight.frac + BELOW)

    @property
    def sum_frac(self):
        return self.weight.frac + self.y.frac

    @property
    def exp_shift(self):
        """Bits of a difference of outputs below the number of its segment."""
        return self.out.frac - EXP_POINTS

    @property
    def sigmoid(self):
        return Table(SIGMOID, self.out)


def plan(fixed, loss):
    """The `Learned` of a `FixedNetwork` whose readout is to learn. ValueError for a readout with memory."""
    check_choice("loss", loss, KINDS)
    readout = fixed.parts[-1]
    if readout.kind != "linear":
        raise ValueError(f"a {readout.kind} readout learns in float32 only: leave --bits out, or train a linear one")
    most = max(np.abs(side).max(initial=2.0**-10) for side in values(fixed))
    bits = fixed.state_bits
    out = Format(bits, min(fixed.out_format.frac - ROOM.bit_length() + 1, widest(bits)))
    return Learned(Format.fit(ROOM * most, 16), fixed.parts[-2].y_format, out, loss)


def values(fixed):
    """(weights (n_out, n), biases (n_out,)) of a quantised readout, as numbers."""
    part = fixed.parts[-1]
    weight = part.sum.weights[0].value(part.inp.dense(part.units)[0].T)
    return weight, Format(64, part.sum.frac).value(part.bias[0])


def exp_points():
    """1 - exp(-x) at 0, 1, ... 2**-EXP_POINTS, mantissas (int64) with ERROR bits behind the point."""
    x = np.arange((EXP_END << EXP_POINTS) + 1) / 2.0**EXP_POINTS
    return Format(ERROR + 1, ERROR).quantise(1 - np.exp(-x))


class GoldenReadout(Golden):
    """A `FixedNetwork` whose readout learns, in integers. weight (n_out, n), bias (n_out,): latent mantissas, int64.

    ValueError as `plan` has it.
    """

    def __init__(self, fixed, loss):
        self.plan = plan(fixed, loss)
        super().__init__(fixed)
        weight, bias = values(fixed)
        self.weight, self.bias = self.plan.latent.quantise(weight), self.plan.latent.quantise(bias)
        self.zero_gradients()

    def zero_gradients(self):
        self.d_weight, self.d_bias = np.zeros_like(self.weight), np.zeros_like(self.bias)

    def run(self, x):
        _, events = super().run(x)
        return self.read_out(events[-1]), events

    def read_out(self, y):
        """Outputs (..., n_out) from events (..., n), mantissas."""
        plan = self.plan
        seen = requantise(self.weight, BELOW, 16)
        total = y @ seen.T + align(self.bias, plan.latent, plan.sum_frac)
        return requantise(total, plan.sum_frac - plan.out.frac, plan.out.bits)

    def error(self, out, target):
        """d loss / d out (n_out,) with ERROR bits behind the point. target: a class, or values as mantissas.

        Those have the outputs' format for mse, ERROR bits behind the point for binary_cross_entropy.
        """
        plan, n = self.plan, len(out)
        if plan.loss == "cross_entropy":
            e = (1 << ERROR) - 1 - self._fallen(np.minimum(out.max() - out, 2**31 - 1))
            total = int(e.sum())
            d = ((e << ERROR) + total // 2) // total
            d[target] -= 1 << ERROR
            return d
        share = ((1 << ERROR) + n // 2) // n
        if plan.loss == "mse":
            difference = requantise(2 * (out - target), plan.out.frac - ERROR, 32)
            return requantise(difference * share, ERROR, 32)
        return requantise((plan.sigmoid(out) >> (plan.out.bits - 1 - ERROR)) * share - target * share, ERROR, 32)

    def _fallen(self, size):
        """1 - exp(-x) of mantissas x >= 0 in the outputs' format."""
        points, shift = exp_points(), self.plan.exp_shift
        place = np.minimum(size >> shift if shift > 0 else size << min(-shift, 30), len(points) - 1)
        found = points[place]
        if shift > 0:
            rise = points[np.minimum(place + 1, len(points) - 1)] - found
            found = found + ((rise * (size & ((1 << shift) - 1)) + (1 << (shift - 1))) >> shift)
        return found

    def learn(self, y, out, target):
        """Add the gradient of the loss at one step."""
        d, plan = self.error(out, target), self.plan
        own = requantise(np.outer(d, y), ERROR + plan.y.frac - GRADIENT.frac, 32)
        self.d_weight = np.clip(self.d_weight + own, -GRADIENT.top, GRADIENT.top)
        self.d_bias = np.clip(self.d_bias + requantise(d, ERROR - GRADIENT.frac, 32), -GRADIENT.top, GRADIENT.top)

    def update(self, rate):
        """One step of gradient descent; rate: a mantissa of the format `RATE`. Gradients become zero."""
        shift, top = GRADIENT.frac + RATE.frac - self.plan.latent.frac, self.plan.latent.top
        self.weight = np.clip(self.weight - requantise(self.d_weight * rate, shift, 32), -top, top)
        self.bias = np.clip(self.bias - requantise(self.d_bias * rate, shift, 32), -top, top)
        self.zero_gradients()
