"""Slow truth of fixed point: every value an exact fraction, rounded once where the lowered program gives it a format.

Nothing here calls the golden model, or the roundings and alignments of `evsim.fixed.format`.
"""

import math
from fractions import Fraction

import numpy as np

from evsim.fixed.lower import CONSTANT, GREATER
from evsim.fixed.table import ENDS
from evsim.program import ADD, CHANNEL, KEPT, MULTIPLY, NEGATE, SIGMOID, SUBTRACT


def unit(form):
    """What one step of a format's mantissa is worth."""
    return Fraction(2) ** -form.frac


def nearest(x):
    """The integer nearest to a fraction, halves up."""
    return math.floor(x + Fraction(1, 2))


def rounded(value, form):
    """The mantissa nearest to an exact value, halves up, saturated symmetrically."""
    top = 2 ** (form.bits - 1) - 1
    return max(-top, min(top, nearest(value / unit(form))))


def table_value(table, x):
    """sigmoid or tanh of the fraction x: the straight line between rounded points, rounded once more."""
    word, density, one = table.word, table.density, unit(table.out)
    last = ENDS[word] << density
    size = abs(x) * 2**density
    first = min(math.floor(size), last)
    ends = [Fraction(_point(word, place / 2**density, table.out)) for place in (first, min(first + 1, last))]
    line = nearest(ends[0] + (ends[1] - ends[0]) * (size - math.floor(size))) * one
    if x >= 0:
        return line
    return 1 - line if word == SIGMOID else -line


def _point(word, x, form):
    return rounded(Fraction(1 / (1 + math.exp(-x)) if word == SIGMOID else math.tanh(x)), form)


class Rational:
    """A `FixedNetwork` in fractions, one sequence at a time. saturated: how many values were cut."""

    def __init__(self, fixed):
        self.fixed, self.saturated = fixed, 0
        self.constants = [self._constants(part) for part in fixed.parts]

    def run(self, x):
        """(out, events of each layer) in mantissas, object arrays (steps, n), of mantissas x (steps, n_in)."""
        parts = self.fixed.parts
        said = [[Fraction(0)] * part.units for part in parts]
        kept = [[[Fraction(0)] * part.units for _ in part.program.kept] for part in parts]
        shown = [[] for _ in parts]
        for row in x:
            heard = [int(m) * unit(self.fixed.given) for m in row]
            for k, part in enumerate(parts):
                values = self._step(k, self._drive(part, heard, said[k]), kept[k])
                kept[k] = [values[place] for place in part.program.kept]
                said[k] = heard = values[part.program.y]
                shown[k].append([int(value / unit(part.formats[part.program.y])) for value in heard])
        shown = [np.array(rows, dtype=object) for rows in shown]
        return shown[-1], shown[:-1]

    def _constants(self, part):
        found = {}
        for place, op in enumerate(part.program.ops):
            if op.head == CONSTANT:
                found[op.index] = [int(m) * unit(part.formats[place]) for m in part.constants[op.index]]
        return found

    def _drive(self, part, heard, own):
        """Exact sums over synapses: [channel][unit]."""
        sums = [[int(m) * Fraction(2) ** -part.sum.frac for m in row] for row in part.bias]
        for side, form, z in zip(part.sides, part.sum.weights, (heard, own)):
            for j, value in enumerate(z):
                if value == 0:
                    continue
                for k in range(side.ptr[j], side.ptr[j + 1]):
                    for row, g in enumerate(side.fed):
                        sums[g][side.target[k]] += int(side.weight[k, row]) * unit(form) * value
        return sums

    def _step(self, k, sums, kept):
        part, values = self.fixed.parts[k], []
        for place, op in enumerate(part.program.ops):
            if op.head == KEPT:
                values.append(kept[op.index])
            elif op.head == CONSTANT:
                values.append(self.constants[k][op.index])
            elif op.head == CHANNEL:
                values.append([self._cut(value, part.formats[place]) for value in sums[op.index]])
            elif op.head == GREATER:
                left, right = (values[one] for one in op.parts)
                values.append([Fraction(int(a > b)) for a, b in zip(left, right, strict=True)])
            elif place in part.tables:
                values.append([table_value(part.tables[place], x) for x in values[op.parts[0]]])
            else:
                exact = (_exact(op.head, *given) for given in zip(*(values[one] for one in op.parts), strict=True))
                values.append([self._cut(value, part.formats[place]) for value in exact])
        return values

    def _cut(self, value, form):
        found = rounded(value, form) * unit(form)
        self.saturated += abs(found - value) > unit(form) / 2
        return found


def _exact(head, *given):
    if head == NEGATE:
        return -given[0]
    left, right = given
    if head == MULTIPLY:
        return left * right
    return left + right if head == ADD else {SUBTRACT: left - right}[head]
