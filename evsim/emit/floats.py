"""Arithmetic in float32: how values, sums and operations of a part are written in C."""

import math

import numpy as np

from evsim.fixed.lower import GREATER
from evsim.program import ADD, MULTIPLY, NEGATE, SIGMOID, SUBTRACT, TANH

_SIGNS = {ADD: "+", SUBTRACT: "-", MULTIPLY: "*"}


class Floats:
    """float32 throughout. source: the `evsim.emit.text.Source` that is told what is needed; prefix: of all names."""

    value = local = "float"
    includes = ("math.h",)
    is_float = True

    def __init__(self, source, prefix):
        self.source, self.prefix = source, prefix

    def kept_type(self, part, index):
        return "uint8_t" if part.binary[part.program.kept[index]] else "float"

    def sum_type(self, part):
        return "float"

    def weights(self, part, side, name):
        """Add the table of a side's weights; returns the form of one weight, with {k} for its place."""
        return self.source.table(name, side.weight, "float") + "[{k}]"

    def biases(self, part, name):
        """(type, values) of the sums' first values (units, channels)."""
        return "float", part.bias.T

    def heard(self, part, which, value):
        """What an event's value is multiplied by weights as, on that side."""
        return value

    def sent(self, value):
        """An event's value as it is put on the list."""
        return value

    def silent(self, value):
        return f"{value} == 0.0f"

    def channel(self, part, place, text):
        """A pre-activation, from the sum."""
        return text

    def kept(self, part, place, text):
        return f"(float){text}" if part.binary[place] else text

    def constant(self, part, place):
        """(type, values (units,)) of a constant."""
        return "float", part.constants[part.program.ops[place].index]

    def operation(self, part, place, names):
        op = part.program.ops[place]
        if op.head in _SIGNS:
            if op.head == MULTIPLY:
                for one, other in ((0, 1), (1, 0)):
                    if part.binary[op.parts[one]]:
                        return f"{names[one]} != 0.0f ? {names[other]} : 0.0f"
            return f"{names[0]} {_SIGNS[op.head]} {names[1]}"
        if op.head == GREATER:
            return f"{names[0]} > {names[1]} ? 1.0f : 0.0f"
        if op.head == NEGATE:
            return f"-{names[0]}"
        if op.head == SIGMOID:
            return f"{self.prefix}_{self.source.need('float_sigmoid')}({names[0]})"
        if op.head == TANH:
            return f"tanhf({names[0]})"
        raise NotImplementedError(f"C has no text for the operation {op.head!r}")

    def about(self, name):
        """What the text of a helper must know."""
        return {}

    def refuse(self, value):
        """When an input event's value cannot be used."""
        return f"!({value} - {value} == 0.0f)"


def check_range(parts):
    """ValueError for parameters that float32 does not hold."""
    top = float(np.finfo(np.float32).max)
    for part in parts:
        arrays = [part.bias, *part.constants, *(side.weight for side in part.sides)]
        most = max((float(np.abs(one).max(initial=0)) for one in arrays), default=0.0)
        if not math.isfinite(most) or most > top:
            raise ValueError(f"{part.name} holds {most:g}, which float32 does not: bring its parameters into range")


