"""One part in C: the loops over what it hears, and the loop over its units."""

import re
from typing import Any

import numpy as np

from evsim.emit.text import Field, comment, indent, number, smallest
from evsim.fixed.lower import CONSTANT
from evsim.program import CHANNEL, KEPT


class PartText:
    """What one part is in C. index: its place; below: the part beneath, or None.

    Makes the tables in the arithmetic's source at once; `fields` are the members of the state, `function` the text.
    """

    arithmetic: Any

    def __init__(self, part, index, below, arithmetic):
        self.part, self.below, self.arithmetic = part, below, arithmetic
        self.name = "readout" if part.is_readout else f"layer{index}"
        self.advance = f"{self.name}_advance"
        self.spoken = f"{self.name}_spoken"
        self.events = f"{self.name}_events"
        self.sums = f"sums{part.sum.bits}" if not arithmetic.is_float else "sums"
        self._learn_of_tables()

    def _learn_of_tables(self):
        part, source, a = self.part, self.arithmetic.source, self.arithmetic
        kind, values = a.biases(part, self.name)
        self.bias = source.table(f"{self.name}_bias", values, kind) if np.any(values) else None
        self.sides = []
        for side, what in zip(part.sides, ("in", "rec")):
            name, dense = f"{self.name}_{what}", is_dense(side, part.units)
            weight = a.weights(part, side, f"{name}_weight") if side.weight.size else None
            if weight and not dense:
                source.table(f"{name}_ptr", side.ptr, smallest(len(side.target)))
                source.table(f"{name}_target", side.target, smallest(part.units))
            self.sides.append((side, name, dense, weight))
        self.names = {}
        for place, op in enumerate(part.program.ops):
            if op.head == CONSTANT:
                self.names[place] = self._constant(place, op.index)

    def _constant(self, place, index):
        """A literal where all units have the same, else an entry of a table."""
        kind, values = self.arithmetic.constant(self.part, place)
        if np.all(values == values[0]):
            return number(values[0], kind)
        return self.arithmetic.source.table(f"{self.name}_constant{index}", values, kind) + "[i]"

    @property
    def fields(self):
        """Members of the state: what is kept, and the list of events."""
        part, a = self.part, self.arithmetic
        found = []
        for k, name in enumerate(part.kept):
            if not self._is_output(k):
                what = comment(f"{name} of {part.name}")
                found.append(Field(a.kept_type(part, k), self.kept_name(k), part.units, what))
        if not part.is_readout:
            found.append(Field("event", self.events, part.units, f"events of {part.name}, by unit"))
            found.append(Field("uint16_t", self.spoken, 0, f"how many events {part.name} had"))
        return found

    def kept_name(self, k):
        word = re.sub(r"[^a-z0-9_]", "", self.part.kept[k].lower())
        return "out" if self._is_output(k) else f"{self.name}_{word}_{k}"

    def _is_output(self, k):
        """Whether what is kept is a readout's output."""
        return self.part.is_readout and self.part.program.kept[k] == self.part.program.y

    def functions(self, state, event):
        """Lists of lines: all functions of the part."""
        return [self.function(state, event)]

    def calls(self, heard):
        """What a step calls, with what was heard, `heard`."""
        return [f"{self.advance}(state, {heard});"]

    def function(self, state, event):
        """The function that takes one step of the part."""
        head = f"static void {self.advance}({state} *s, const {event} *heard, size_t n)"
        return [head, "{", *indent([*self._begin(), *self._hear(), *self._units()]), "}"]

    def _begin(self):
        part, count = self.part, self.part.units * len(self.part.channels)
        value = f"{self.bias}[i]" if self.bias else number(0, self.arithmetic.sum_type(part))
        return [f"for (size_t i = 0; i < {count}u; ++i) {{", f"    s->{self.sums}[i] = {value};", "}"]

    def _hear(self):
        lines, used = [], False
        for which, (side, name, dense, weight) in enumerate(self.sides):
            if weight:
                events = ("heard", "n") if which == 0 else (f"s->{self.events}", f"s->{self.spoken}")
                used = used or which == 0
                lines += self._scatter(which, side, name, dense, weight, *events)
        return lines if used else ["(void)heard;", "(void)n;", *lines]

    def _scatter(self, which, side, name, dense, weight, events, count):
        a, part, channels = self.arithmetic, self.part, len(self.part.channels)
        kind, fed = a.sum_type(part), len(side.fed)
        z = a.heard(part, which, f"{events}[e].value")
        lines = [f"for (size_t e = 0; e < {count}; ++e) {{", f"    const size_t j = {events}[e].index;"]
        lines.append(f"    const {kind} z = {z};")
        if dense:
            first, end, target = f"j * {part.units}u", f"(j + 1u) * {part.units}u", f"(k - j * {part.units}u)"
        else:
            first, end, target = f"{name}_ptr[j]", f"{name}_ptr[j + 1u]", f"{name}_target[k]"
        lines.append(f"    for (size_t k = {first}; k < {end}; ++k) {{")
        lines.append(f"        {kind} *to = &s->{self.sums}[{target}{f' * {channels}u' if channels > 1 else ''}];")
        for row, g in enumerate(side.fed):
            place = f"{fed}u * k + {row}u" if fed > 1 else "k"
            lines.append(f"        to[{g}] += {weight.format(k=place)} * z;")
        return [*lines, "    }", "}"]

    def _units(self):
        part = self.part
        lines = [] if part.is_readout else [f"s->{self.spoken} = 0;"]
        lines.append(f"for (size_t i = 0; i < {part.units}u; ++i) {{")
        return [*lines, *indent([*self.operations(), *self._results()]), "}"]

    def operations(self):
        """A constant for each operation that is no literal; afterwards `names` says what each is called."""
        part, a, lines = self.part, self.arithmetic, []
        channels = len(part.channels)
        for place, op in enumerate(part.program.ops):
            if place in self.names and op.head == CONSTANT:
                continue
            if op.head == CHANNEL:
                at = f"i * {channels}u + {op.index}u" if channels > 1 else "i"
                text = a.channel(part, place, f"s->{self.sums}[{at}]")
            elif op.head == KEPT:
                text = a.kept(part, place, f"s->{self.kept_name(op.index)}[i]")
            else:
                text = a.operation(part, place, [self.names[one] for one in op.parts])
            self.names[place] = f"v{place}"
            lines.append(f"const {a.local} v{place} = {text};")
        return lines

    def _results(self):
        part, a, lines = self.part, self.arithmetic, []
        for k, place in enumerate(part.program.kept):
            if not self._is_output(k):
                kind = a.kept_type(part, k)
                cast = "" if kind == a.local else f"({kind})"
                lines.append(f"s->{self.kept_name(k)}[i] = {cast}{self.names[place]};")
        y = self.names[part.program.y]
        if part.is_readout:
            return [*lines, f"s->out[i] = {a.sent(y)};"]
        told = ["(uint16_t)i", a.sent(y)]
        return [
            *lines,
            f"if (!({a.silent(y)})) {{",
            f"    s->{self.events}[s->{self.spoken}].index = {told[0]};",
            f"    s->{self.events}[s->{self.spoken}].value = {told[1]};",
            f"    ++s->{self.spoken};",
            "}",
        ]


def is_dense(side, units):
    """Whether every source reaches every unit: there is no need to say which."""
    return len(side.target) == side.sources * units
