"""Golden model: a quantised network in numpy's integers: what it gives is right, to the bit, whoever computes it."""

import numpy as np

from evsim.check import as_array, check_finite
from evsim.fixed.execute import Execution
from evsim.fixed.format import align, common, requantise
from evsim.fixed.lower import GREATER
from evsim.program import ADD, MULTIPLY, NEGATE, SUBTRACT


class Golden(Execution):
    """A `evsim.fixed.quantise.FixedNetwork`, run in int64; `run` takes and gives mantissas."""

    dtype = np.int64

    def __init__(self, fixed):
        super().__init__(fixed.parts)
        self.weights = [[side.dense(part.units) for side in part.sides] for part in fixed.parts]

    def drive(self, k, heard, own):
        part = self.parts[k]
        sums = [np.broadcast_to(bias, (len(heard), part.units)) for bias in part.bias]
        for side, weight, shift, z in zip(part.sides, self.weights[k], part.sum.shifts, (heard, own)):
            for row, g in enumerate(side.fed):
                sums[g] = sums[g] + (z << shift) @ weight[row]
        for g, form in part.channel_formats.items():
            sums[g] = requantise(sums[g], part.sum.frac - form.frac, form.bits)
        return sums

    def constant(self, k, index):
        return self.parts[k].constants[index]

    def compute(self, k, place, values):
        part = self.parts[k]
        op, out = part.program.ops[place], part.formats[place]
        given = [part.formats[one] for one in op.parts]
        m = [values[one] for one in op.parts]
        if op.head in (ADD, SUBTRACT, GREATER):
            frac = common(*given)
            left, right = (align(one, form, frac) for one, form in zip(m, given, strict=True))
            if op.head == GREATER:
                return (left > right).astype(np.int64)
            return requantise(left + right if op.head == ADD else left - right, frac - out.frac, out.bits)
        if op.head == MULTIPLY:
            return requantise(m[0] * m[1], given[0].frac + given[1].frac - out.frac, out.bits)
        if op.head == NEGATE:
            return requantise(-m[0], given[0].frac - out.frac, out.bits)
        return part.tables[place](m[0])


def run(fixed, x, record_events=False):
    """Run a `FixedNetwork` from zero state on numbers: x (steps, n_in) or (batch, steps, n_in) -> out, likewise.

    Inputs are rounded to the network's format, and saturate. Returns out (float64, mantissas times their scale), and
    with record_events also a list of the layers' events. ValueError for other shapes and for NaN or infinity.
    """
    x = as_array("x", x).astype(np.float64)
    check_finite("x", x)
    if x.ndim not in (2, 3) or x.shape[-1] != fixed.n_in:
        raise ValueError(f"x has shape {x.shape}: give (steps, {fixed.n_in}) or (batch, steps, {fixed.n_in})")
    many = x.ndim == 3
    out, events = Golden(fixed).run(fixed.given.quantise(x if many else x[None]))
    out = fixed.out_format.value(out)
    events = [part.y_format.value(shown) for part, shown in zip(fixed.parts, events)]
    if not many:
        out, events = out[0], [shown[0] for shown in events]
    return (out, events) if record_events else out
