"""Lowering: a program for inference, in which all that no step changes is a constant, and events compare two values."""

import numpy as np

from evsim.program import ADD, CHANNEL, KEPT, LOCAL, MULTIPLY, NEGATE, NUMBER, SIGMOID, SUBTRACT, TANH, Program, trace
from evsim.symbols import EVENT

CONSTANT, GREATER = "constant", ">"


def lower(layer, local):
    """(program, constants) of a layer: `Program` whose leaves are constants, channels and what is kept.

    local: the layer's local parameters, each (n,), in its order. constants: list of (n,) float64, which the index of a
    `constant` names. An event is `>` of two parts. Nothing in the list goes unused. A linear readout, which is no
    layer of the stack, gives its one channel.
    """
    if not hasattr(layer, "advance"):
        program = Program()
        program.y = program.add(CHANNEL)
        return program, []
    return _Lowering(trace(layer), [np.asarray(one, np.float64) for one in local], layer.units).result()


class _Lowering:
    def __init__(self, program, local, units):
        self.old, self.local, self.units = program, local, units
        self.new, self.constants = Program(), []
        self.fixed = program.constant()
        self.values: dict[int, np.ndarray] = {}
        self.places: dict[int, int] = {}

    def result(self):
        old, new = self.old, self.new
        new.y = self.place(old.y)
        new.kept = tuple(self.place(k) for k in old.kept)
        return new, self.constants

    def place(self, k):
        """Where the old operation k stands in the new program."""
        if k not in self.places:
            self.places[k] = self._place(k)
        return self.places[k]

    def _place(self, k):
        op, new = self.old.ops[k], self.new
        if op.head in (CHANNEL, KEPT):
            return new.add(op.head, index=op.index)
        if self.fixed[k]:
            self.constants.append(self._value(k))
            return new.add(CONSTANT, index=len(self.constants) - 1)
        if op.head != EVENT:
            return new.add(op.head, *(self.place(part) for part in op.parts))
        (argument,) = op.parts
        inner = self.old.ops[argument]
        if inner.head == SUBTRACT:
            return new.add(GREATER, *(self.place(part) for part in inner.parts))
        return new.add(GREATER, self.place(argument), self._number(0.0))

    def _number(self, value):
        self.constants.append(np.full(self.units, value))
        return self.new.add(CONSTANT, index=len(self.constants) - 1)

    def _value(self, k):
        """The value (n,) of an old operation that no step changes."""
        op = self.old.ops[k]
        if op.head == NUMBER:
            return np.full(self.units, op.value)
        if op.head == LOCAL:
            return self.local[op.index]
        return _NUMPY[op.head](*(self._value(part) for part in op.parts))


def binary(program):
    """For each operation of a lowered program, whether its value is 0 or 1: an event, perhaps one that was kept."""
    found = [op.head == GREATER for op in program.ops]
    for _ in program.kept:  # what was kept may be kept on
        found = [
            found[program.kept[op.index]] if op.head == KEPT else one
            for op, one in zip(program.ops, found, strict=True)
        ]
    return found


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _event(x):
    return (x > 0).astype(np.float64)


# What each head is for float64 arrays.
_NUMPY = {
    ADD: np.add, SUBTRACT: np.subtract, MULTIPLY: np.multiply, NEGATE: np.negative, SIGMOID: _sigmoid, TANH: np.tanh,
    EVENT: _event,
}  # fmt: skip
FLOAT = {**_NUMPY, GREATER: lambda left, right: (left > right).astype(np.float64)}
