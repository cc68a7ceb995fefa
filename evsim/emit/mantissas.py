"""Arithmetic in fixed point: how the golden model's mantissas, sums and operations are written in C."""

import numpy as np

from evsim.emit.text import smallest
from evsim.fixed.format import FURTHEST, common
from evsim.fixed.lower import GREATER
from evsim.program import ADD, MULTIPLY, NEGATE, SUBTRACT


class Mantissas:
    """Integers of a `evsim.fixed.quantise.FixedNetwork`. source, prefix: as `evsim.emit.floats.Floats`."""

    local = "int32_t"
    includes = ()
    is_float = False

    def __init__(self, source, prefix, fixed):
        self.source, self.prefix, self.fixed = source, prefix, fixed
        self.value = f"int{fixed.state_bits}_t"
        self.words: dict[str, tuple[str, int]] = {}

    def kept_type(self, part, index):
        return "uint8_t" if part.binary[part.program.kept[index]] else self.value

    def sum_type(self, part):
        return f"int{part.sum.bits}_t"

    def weights(self, part, side, name):
        if self.fixed.bits == 4:
            self.source.need("nibble")
            flat = (side.weight.ravel() + 8).astype(np.uint8)
            flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
            self.source.table(name, flat[::2] | (flat[1::2] << 4), "uint8_t")
            return f"{self.prefix}_nibble({name}, {{k}})"
        return self.source.table(name, side.weight, f"int{self.fixed.bits}_t") + "[{k}]"

    def biases(self, part, name):
        most = int(np.abs(part.bias).max(initial=0))
        return smallest(most, signed=True), part.bias.T

    def heard(self, part, which, value):
        kind, shift = self.sum_type(part), part.sum.shifts[which]
        return f"({kind}){value} * {_power(kind, shift)}" if shift else f"({kind}){value}"

    def sent(self, value):
        return f"({self.value}){value}"

    def silent(self, value):
        return f"{value} == 0"

    def channel(self, part, place, text):
        form = part.formats[place]
        return self.scaled(text, part.sum.bits, part.sum.frac - form.frac, form)

    def kept(self, part, place, text):
        return text

    def constant(self, part, place):
        return self.value, part.constants[part.program.ops[place].index]

    def operation(self, part, place, names):
        op, out = part.program.ops[place], part.formats[place]
        given = [part.formats[one] for one in op.parts]
        if op.head in (ADD, SUBTRACT, GREATER):
            frac = common(*given)
            bits = [form.bits + frac - form.frac for form in given]
            wide = 32 if max(bits) + 1 <= 31 and frac - out.frac <= 30 else 64
            left, right = (self._aligned(*one, frac, wide) for one in zip(names, given, strict=True))
            if op.head == GREATER:
                if wide == 64:
                    return f"{self.prefix}_{self.source.need('above64')}({left}, {right})"
                return f"{left} > {right} ? 1 : 0"
            return self.scaled(f"{left} {op.head} {right}", wide, frac - out.frac, out)
        if op.head == MULTIPLY:
            shift = given[0].frac + given[1].frac - out.frac
            for one, other in ((0, 1), (1, 0)):
                if part.binary[op.parts[one]]:
                    taken = f"({names[one]} != 0 ? {names[other]} : 0)"
                    return self.scaled(taken, 32, shift, out)
            wide = 32 if given[0].bits + given[1].bits <= 32 and shift <= 30 else 64
            return self.scaled(f"(int{wide}_t){names[0]} * {names[1]}", wide, shift, out)
        if op.head == NEGATE:
            return self.scaled(f"-{names[0]}", 32, given[0].frac - out.frac, out)
        return self.word(part.tables[place], names[0])

    def word(self, table, name):
        """A sigmoid or tanh of `name` by its `evsim.fixed.table.Table`."""
        if table.word not in self.words:
            points = table.points()
            listed = self.source.table(f"{self.prefix}_{table.word}_points", points, self.value)
            self.words[table.word] = (listed, len(points) - 1)
        self.source.need(table.word)
        return f"{self.prefix}_{table.word}({name}, {max(table.shift, -30)})"

    def _aligned(self, name, form, frac, wide):
        if frac < form.frac:
            return self.scaled(name, 64, form.frac - frac, form)
        kind = f"int{wide}_t"
        return f"({kind}){name} * {_power(kind, frac - form.frac)}" if frac > form.frac else f"({kind}){name}"

    def scaled(self, text, wide, shift, out):
        """`text`, of so many bits, times 2**-shift in the format `out`."""
        if shift > FURTHEST:
            return f"((void)({text}), 0)"  # what it was made of counts as used
        if shift > 30 and wide == 32:
            wide, text = 64, f"(int64_t)({text})"
        if shift > 0:
            return f"{self.prefix}_{self.source.need(f'round{wide}')}({text}, {shift}, {out.top})"
        if shift == 0:
            return f"{self.prefix}_{self.source.need(f'clip{wide}')}({text}, {out.top})"
        return f"{self.prefix}_{self.source.need(f'raise{wide}')}({text}, {-shift}, {out.top})"

    def about(self, name):
        """What the text of a helper must know."""
        points, last = self.words.get(name, ("", 0))
        top = 2 ** (self.fixed.state_bits - 1) - 1
        wide = f"int{self.fixed.state_bits * 2}_t"
        return {"value": self.value, "wide": wide, "points": points, "last": last, "top": top}

    def refuse(self, value):
        form = self.fixed.given
        below = f"{value} < -{form.top}"
        return below if self.value == f"int{form.bits}_t" else f"{value} > {form.top} || {below}"


def _power(kind, shift):
    return f"INT64_C({1 << shift})" if kind == "int64_t" else str(1 << shift)


