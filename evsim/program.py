"""Program: a layer's equations as a list of operations, each one sum, product or word of what stands before it.

Made from the three functions that numpy and torch run, by way of `evsim.symbols`: what is computed twice there stands
here once, and arithmetic of plain numbers is done. Whoever needs the equations in another arithmetic (integers, C)
walks the list; whoever needs their derivatives adds to it (`Program.add`).
"""

from dataclasses import dataclass, field

from evsim.symbols import DETACH, EVENT, called, channel_names

# Leaves: a number; a local parameter; a pre-activation; what the unit kept. index says which.
NUMBER, LOCAL, CHANNEL, KEPT = "number", "local", "channel", "kept"
LEAVES = (NUMBER, LOCAL, CHANNEL, KEPT)
ADD, SUBTRACT, MULTIPLY, NEGATE = "+", "-", "*", "negate"
SIGMOID, TANH = "sigmoid", "tanh"  # and EVENT, DETACH of evsim.symbols
CONSTANT = (NUMBER, LOCAL)  # leaves that no step changes


@dataclass(frozen=True)
class Op:
    """One operation. head: what it does; parts: places of the operations that it reads; index, value: of a leaf."""

    head: str
    parts: tuple[int, ...] = ()
    index: int = 0
    value: float = 0.0


@dataclass
class Program:
    """ops in an order in which they can be computed, and where the results stand among them.

    states, y, kept: places of the state before the event, of the event, and of what is kept (as `Layer.kept` names it).
    detach: whether a detached value is an operation of its own, as derivatives need it, or simply the value.
    """

    ops: list[Op] = field(default_factory=list)
    states: tuple[int, ...] = ()
    y: int = 0
    kept: tuple[int, ...] = ()
    detach: bool = False
    _known: dict[Op, int] = field(default_factory=dict, repr=False)

    def add(self, head, *parts, index=0, value=0.0):
        """The place of an operation, added to the list unless one there gives the same.

        x + 0, x * 1 and x * 0 are done here: values are finite. The text of a head is free; those above have a meaning.
        """
        if simple := self._simpler(head, parts):
            return simple[0]
        op = Op(head, parts, index, value)
        if op not in self._known:
            self._known[op] = len(self.ops)
            self.ops.append(op)
        return self._known[op]

    def number(self, value):
        """The place of a plain number."""
        return self.add(NUMBER, value=float(value))

    def is_number(self, place, value=None):
        op = self.ops[place]
        return op.head == NUMBER and (value is None or op.value == value)

    def constant(self):
        """For each operation, whether no step changes it: made of numbers and local parameters alone."""
        found = []
        for op in self.ops:
            found.append(op.head in CONSTANT or (bool(op.parts) and all(found[part] for part in op.parts)))
        return found

    def needed(self, places):
        """For each operation, whether one of those at `places` reads it, or is it."""
        wanted = [False] * len(self.ops)
        for place in places:
            wanted[place] = True
        for place in range(len(self.ops) - 1, -1, -1):
            if wanted[place]:
                for part in self.ops[place].parts:
                    wanted[part] = True
        return wanted

    def is_binary(self, place):
        """Whether the value is 0 or 1: an event, or one of these two numbers."""
        return self.ops[place].head == EVENT or any(self.is_number(place, value) for value in (0, 1))

    def _simpler(self, head, parts):
        """(place,) of what gives the same with no new operation, or with one number; else ()."""
        if head == DETACH and not self.detach:
            return parts
        if head not in (ADD, SUBTRACT, MULTIPLY, NEGATE):
            return ()
        if all(self.is_number(part) for part in parts):
            return (self.number(_compute(head, *(self.ops[part].value for part in parts))),)
        if head == NEGATE:
            return self.ops[parts[0]].parts if self.ops[parts[0]].head == NEGATE else ()
        left, right = parts
        if head == MULTIPLY:
            for one, other in (parts, parts[::-1]):
                if self.is_number(one, 0):
                    return (one,)
                if self.is_number(one, 1):
                    return (other,)
            return ()
        if self.is_number(right, 0):
            return (left,)
        if self.is_number(left, 0):
            return (right,) if head == ADD else (self.add(NEGATE, right),)
        return (self.number(0),) if head == SUBTRACT and left == right else ()


def trace(layer, detach=False):
    """The `Program` of a layer's `advance`, `emit` and `keep`; `detach` as there."""
    return _Tracer(layer, Program(detach=detach)).program


class _Tracer:
    """Turns Symbols into operations: `program` is what became of them."""

    def __init__(self, layer, program):
        self.program = program
        states, y, kept = called(layer)
        self.leaves = {name: (LOCAL, k) for k, name in enumerate(layer.local)}
        self.leaves |= {f"{name}'": (KEPT, k) for k, name in enumerate(layer.kept)}
        self.leaves |= {name: (CHANNEL, k) for k, name in enumerate(channel_names(layer))}
        self.states: dict[str, int] = {}
        found = [self.place(symbol) for symbol in states.values()]
        self.states = dict(zip(states, found, strict=True))
        program.states = tuple(found)
        program.y = self.place(y)
        program.kept = tuple(self.place(symbol) for symbol in kept.values())

    def place(self, symbol):
        """The place of what a Symbol stands for."""
        if not symbol.parts:
            if symbol.head in self.states:
                return self.states[symbol.head]
            if symbol.head in self.leaves:
                head, index = self.leaves[symbol.head]
                return self.program.add(head, index=index)
            return self.program.number(float(symbol.head))
        head = NEGATE if symbol.head == "-" and len(symbol.parts) == 1 else symbol.head
        return self.program.add(head, *(self.place(part) for part in symbol.parts))


def _compute(head, *values):
    if head == NEGATE:
        return -values[0]
    left, right = values
    return left + right if head == ADD else left - right if head == SUBTRACT else left * right
