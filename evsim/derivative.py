"""Derivative: a layer's equations with the derivatives that a Step is made of, as one list of operations.

What learning needs of a unit (A, B, C, phi, D, as `evsim.layer` has them) follows from the layer's own `Program` by
the rules of differentiation, operation by operation; nothing is written for one cell. Derivatives pass from a step to
the next through what is kept:

    A = (d s / d w') (d w' / d s')      C = d s / d q + (d s / d w') (d w' / d q)      primes: the step before

so the slopes of what was kept, d w / d s and d w / d q, are kept as well, unless they are 0 or the same number at every
step: they stand behind the layer's own in `Program.kept`.
"""

from dataclasses import dataclass

from evsim.program import ADD, CHANNEL, KEPT, LEAVES, LOCAL, MULTIPLY, NEGATE, SIGMOID, SUBTRACT, TANH, Program, trace
from evsim.symbols import DETACH, EVENT

PSI = "psi"  # an operation: the pseudo-derivative of the event of the same argument

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Derivative:
    """program: states, y, and what is kept, with its slopes; then places in it, those of 0 where there is nothing.

    A (K, K), B (K, G), C (K, L), phi (K), D (L): with L the local parameters that were asked for, in that order.
    """

    program: Program
    local: tuple[str, ...]
    A: Table
    B: Table
    C: Table
    phi: tuple[int, ...]
    D: tuple[int, ...]

    def places(self):
        """The places of all results, each as often as it is one."""
        tables = (place for table in (self.A, self.B, self.C) for row in table for place in row)
        return [*self.program.states, self.program.y, *self.program.kept, *tables, *self.phi, *self.D]

    def is_zero(self, place):
        """Whether nothing stands there but 0."""
        return self.program.is_number(place, 0)


def differentiate(layer, local=None):
    """The `Derivative` of a layer; local: names of local parameters that C and D are wanted for (default: trained).

    ValueError for a name that the layer has not, and for a state that is a plain number or a local parameter.
    """
    local = tuple(layer.trained() if local is None else local)
    for name in local:
        if name not in layer.local:
            raise ValueError(f"{type(layer).__name__} has no local parameter {name!r}: its own are {layer.local}")
    program = trace(layer, detach=True)
    for name, place in zip(layer.states, program.states, strict=True):
        if program.constant()[place]:
            raise ValueError(f"the state {name!r} of {type(layer).__name__} never changes: leave it out of the states")
    return _Differentiation(program, layer, local).derivative()


def gathered(found):
    """The same `Derivative`, of a program that holds what it needs and nothing else; what is detached is the value."""
    old, new, moved = found.program, Program(), {}
    needed = old.needed(found.places())
    for place, op in enumerate(old.ops):
        if needed[place]:
            moved[place] = new.add(op.head, *(moved[part] for part in op.parts), index=op.index, value=op.value)
    new.states, new.kept = (tuple(moved[k] for k in places) for places in (old.states, old.kept))
    new.y = moved[old.y]
    A, B, C = ([[moved[k] for k in row] for row in table] for table in (found.A, found.B, found.C))
    phi, D = (tuple(moved[k] for k in places) for places in (found.phi, found.D))
    found = Derivative(new, found.local, _table(A), _table(B), _table(C), phi, D)
    return found if all(new.needed(found.places())) else gathered(found)


def _table(rows):
    return tuple(tuple(row) for row in rows)


class _Differentiation:
    """Adds the derivatives of one layer to its program, then gathers what is needed of it."""

    def __init__(self, program, layer, local):
        self.program, self.local = program, local  # `trace(layer, detach=True)`
        self.count = len(program.ops)  # of operations that are the layer's own
        self.own = {(op.head, op.index): place for place, op in enumerate(program.ops) if op.head in LEAVES}
        self.q = [self.own.get((LOCAL, layer.local.index(name))) for name in local]
        self.channels = [self.own.get((CHANNEL, g)) for g in range(len(layer.channels))]
        self.kept = [self.own.get((KEPT, k)) for k in range(len(layer.kept))]
        self.stored: list[int] = []

    def derivative(self):
        p, states, kept = self.program, self.program.states, self.program.kept
        by_state = [self._along(place, states) for place in dict.fromkeys(states)]
        by_state += [[p.number(0)] * self.count] * (len(states) - len(by_state))  # of states that are one and the same
        by_local = [self._along(place, states) for place in self.q]
        moved = [self._along(place) for place in self.kept]
        A = [[self._carried(s, moved, [of[w] for w in kept]) for of in by_state] for s in states]
        C = []
        for s in states:
            here = [self._along(place)[s] for place in self.q]
            carried = [self._carried(s, moved, [of[w] for w in kept], local=True) for of in by_local]
            C.append([self._sum(*pair) for pair in zip(here, carried, strict=True)])
        B = [[self._along(place)[s] for place in self.channels] for s in states]
        phi, D = ([of[p.y] for of in group] for group in (by_state, by_local))
        p.kept = (*kept, *self.stored)
        return gathered(Derivative(p, self.local, _table(A), _table(B), _table(C), tuple(phi), tuple(D)))

    def _along(self, seed, fixed=()):
        """For each of the layer's own operations, its derivative to that at `seed`; those at `fixed` have none."""
        p, found = self.program, []
        for place in range(self.count):
            op = p.ops[place]
            if place == seed:
                found.append(p.number(1))
            elif place in fixed or op.head in LEAVES or op.head == DETACH:
                found.append(p.number(0))
            else:
                found.append(self._rule(place, op, [found[part] for part in op.parts]))
        return found

    def _rule(self, place, op, slopes):
        """The derivative of one operation, given those of its parts."""
        p = self.program
        if op.head == ADD:
            return self._sum(*slopes)
        if op.head == SUBTRACT:
            return self._sum(slopes[0], self._negative(slopes[1]))
        if op.head == NEGATE:
            return self._negative(slopes[0])
        if op.head == MULTIPLY:
            left, right = op.parts
            return self._sum(self._product(slopes[0], right), self._product(left, slopes[1]))
        if p.is_number(slopes[0], 0):
            return slopes[0]
        if op.head == EVENT:
            return self._product(p.add(PSI, *op.parts), slopes[0])
        one = p.number(1)
        if op.head == SIGMOID:
            return self._product(p.add(MULTIPLY, place, p.add(SUBTRACT, one, place)), slopes[0])
        if op.head == TANH:
            return self._product(p.add(SUBTRACT, one, p.add(MULTIPLY, place, place)), slopes[0])
        raise ValueError(f"{op.head!r} has no derivative here: use the words of evsim.words and + - * only")

    def _carried(self, state, moved, slopes, local=False):
        """Sum over what was kept of (d state / d w') times its slope, which is one of the step before."""
        total = self.program.number(0)
        for along, slope in zip(moved, slopes, strict=True):
            if not self.program.is_number(along[state], 0):
                total = self._sum(total, self._product(along[state], self._before(slope, local)))
        return total

    def _before(self, slope, local):
        """A slope as it was at the step before; kept for it, if it is no number.

        local: to a local parameter. Before the first step there are no such slopes, so a number other than 0 is kept.
        """
        p = self.program
        if p.is_number(slope, 0) or (p.is_number(slope) and not local):
            return slope
        if p.ops[slope].head == NEGATE:
            return self._negative(self._before(p.ops[slope].parts[0], local))
        kept = [*p.kept, *self.stored]
        if slope not in kept:
            self.stored.append(slope)
            kept.append(slope)
        return p.add(KEPT, index=kept.index(slope))

    def _sum(self, left, right):
        p = self.program
        for one, other in ((left, right), (right, left)):
            if p.ops[other].head == NEGATE:
                return p.add(SUBTRACT, one, p.ops[other].parts[0])
        return p.add(ADD, *sorted((left, right)))

    def _negative(self, place):
        return self.program.add(NEGATE, place)

    def _product(self, left, right):
        p = self.program
        for one, other in ((left, right), (right, left)):
            if p.is_number(one, -1):
                return self._negative(other)
            if p.ops[one].head == NEGATE:
                return self._negative(self._product(p.ops[one].parts[0], other))
        return p.add(MULTIPLY, *sorted((left, right)))
