"""Quantising: a trained network in integers, every tensor with a power-of-two scale of its own."""

from dataclasses import dataclass, replace

import numpy as np

from evsim.check import as_array, check_choice, check_finite, named
from evsim.fixed.calibrate import ranges
from evsim.fixed.format import BIT, FURTHEST, Format
from evsim.fixed.lower import CONSTANT
from evsim.fixed.parts import Part, Stack, divide
from evsim.fixed.table import Table, widest
from evsim.program import CHANNEL, KEPT, MULTIPLY, NEGATE, SIGMOID, TANH

BITS, STATE_BITS = (4, 8, 16), (16, 32)
INPUT_BITS = 16
TRIED = 128, 256  # sequences of a training split, and steps of each, at most, by which scales of states are chosen
UNTRIED = 1.0  # range of a value that was 0 throughout
MARGIN = 1.25  # by which a value may be larger than it was on the data, before it saturates


@dataclass
class Sum:
    """Sums over synapses into one part, exact. frac: of the sum and the biases; bits: 32 or 64, enough for any input.

    shifts: for each side, by how many bits what is heard is multiplied first, so that both sides have that frac.
    weights: formats of each side's weights.
    """

    frac: int
    bits: int
    shifts: tuple[int, ...]
    weights: tuple[Format, ...]


@dataclass
class FixedPart(Part):
    """A part in mantissas. formats: of each operation of the program; tables: by the operation that they stand for."""

    sum: Sum
    formats: list[Format]
    tables: dict[int, Table]

    @property
    def y_format(self):
        return self.formats[self.program.y]

    @property
    def channel_formats(self):
        """The format to which the sum of each channel that is read is rounded."""
        return {op.index: form for op, form in zip(self.program.ops, self.formats) if op.head == CHANNEL}


@dataclass
class FixedNetwork(Stack):
    """What `quantise` gives. given: format of inputs. parts: `FixedPart`, bottom to top, the readout last."""

    parts: list[FixedPart]
    given: Format
    bits: int
    state_bits: int

    @property
    def out_format(self):
        return self.parts[-1].y_format


def check_bits(bits, state_bits=16):
    """ValueError for widths that are not offered."""
    for name, given, known in (("bits", bits, BITS), ("state_bits", state_bits, STATE_BITS)):
        check_choice(name, given, known)
    return bits, state_bits


def quantise(net, inputs, bits=8, state_bits=16):
    """The `FixedNetwork` of an `evsim.Network`.

    inputs: list of (steps, n_in), at least one; the scales of states are chosen by the values on them, those of weights
    by least squared error. bits: of weights, 4, 8 or 16. state_bits: of states and events, 16 or 32. ValueError for
    other widths, for inputs that do not fit, and for parameters that no scale holds.
    """
    check_bits(bits, state_bits)
    inputs = [_checked(x, net.n_in) for x in inputs]
    if not inputs:
        raise ValueError("there are no inputs to choose scales by: give one sequence at least")
    parts = divide(net)
    most = ranges(parts, inputs)
    given = _format_of_inputs(inputs)
    found, heard = [], given
    for part, largest in zip(parts, most, strict=True):
        with named(part.name):
            found.append(_quantised(part, largest, heard, bits, state_bits))
        heard = found[-1].y_format
    return FixedNetwork(found, given, bits, state_bits)


def vanished(net, fixed):
    """dict of parameter -> the part of its weights, those that are not 0 anyway, that are 0 in a `FixedNetwork`.

    net: the network that was quantised. One weight far larger than the others of its tensor makes this large.
    """
    found = {}
    for part, given in zip(fixed.parts, divide(net), strict=True):
        names = ("weight",) if part.is_readout else ("weight_in", "weight_rec")
        for name, side, first in zip(names, part.sides, given.sides, strict=True):
            there = first.weight != 0
            gone = there & (side.weight == 0)
            found[f"{part.name}.{name}"] = float(gone.sum() / there.sum()) if there.any() else 0.0
    return found


def _checked(x, n_in):
    x = as_array("inputs", x).astype(np.float64)
    check_finite("inputs", x)
    if x.ndim != 2 or x.shape[1] != n_in:
        raise ValueError(f"inputs hold an array of shape {x.shape}: give sequences (steps, {n_in})")
    return x


def _format_of_inputs(inputs):
    """Two bits where all are -1, 0 or 1, else 16."""
    if all(np.isin(x, (-1, 0, 1)).all() for x in inputs):
        return BIT
    return Format.fit(max(np.abs(x).max(initial=0) for x in inputs), INPUT_BITS)


def _quantised(part, most, heard, bits, state_bits):
    formats = _formats(part, most, state_bits)
    tables = {
        place: Table(op.head, formats[op.parts[0]])
        for place, op in enumerate(part.program.ops)
        if op.head in (SIGMOID, TANH)
    }
    constants = [np.zeros(0, np.int64)] * len(part.constants)
    for place, op in enumerate(part.program.ops):
        if op.head == CONSTANT:
            constants[op.index] = formats[place].quantise(part.constants[op.index])
    spoken = [heard, formats[part.program.y]][: len(part.sides)]
    weights = _weight_formats(part, spoken, formats, bits)
    sides, total, bias = _sum(part, weights, spoken, formats)
    fields = {name: getattr(part, name) for name in ("name", "kind", "units", "channels", "kept", "program")}
    inp, rec = [*sides, None][:2]
    return FixedPart(
        **fields, inp=inp, rec=rec, bias=bias, constants=constants, sum=total, formats=formats, tables=tables
    )


def _formats(part, most, bits):
    """The format of each operation's value. Products with an event are not rounded; what is kept stays as it is."""
    program, is_bit = part.program, part.binary
    found: list[Format] = []
    coarse = {op.parts[0] for op in program.ops if op.head in (SIGMOID, TANH)}
    for place, op in enumerate(program.ops):
        if is_bit[place]:
            found.append(BIT)
        elif op.head in (SIGMOID, TANH):
            found.append(Format(bits, bits - 1))
        elif op.head == NEGATE:
            found.append(found[op.parts[0]])
        elif op.head == MULTIPLY and any(is_bit[k] for k in op.parts):
            found.append(found[op.parts[1] if is_bit[op.parts[0]] else op.parts[0]])
        else:
            after = program.kept[op.index] if op.head == KEPT else place
            furthest = max(most[place], most[after]) * (1.0 if op.head == CONSTANT else MARGIN)
            if op.head != CONSTANT and not furthest:
                furthest = UNTRIED
            form = Format.fit(furthest, bits)
            found.append(replace(form, frac=min(form.frac, widest(bits))) if place in coarse else form)
    return _as_kept(program, found)


def _as_kept(program, formats):
    """The same, with what is read as kept in the format in which it was computed, however often it was kept on."""
    for _ in program.kept:
        formats = [
            formats[program.kept[op.index]] if op.head == KEPT else form
            for op, form in zip(program.ops, formats, strict=True)
        ]
    return formats


def _weight_formats(part, spoken, formats, bits):
    """Of each side. Where no weight is but 0, a format that leaves the sums' frac to the other side, or to channels."""
    found = [Format.best(side.weight, bits) for side in part.sides]
    loud = [side.weight.any() for side in part.sides]
    sums = [form.frac + said.frac for form, said, one in zip(found, spoken, loud, strict=True) if one]
    if not sums:
        sums = [form.frac for op, form in zip(part.program.ops, formats, strict=True) if op.head == CHANNEL] or [0]
    return [
        form if one else replace(form, frac=max(sums) - said.frac)
        for form, said, one in zip(found, spoken, loud, strict=True)
    ]


def _sum(part, weights, spoken, formats):
    """(sides in mantissas, `Sum`, biases in mantissas), for formats of weights and of what each side hears.

    Weights of one side become coarser where no sum could hold both sides otherwise. Where there is room, sums are as
    fine as the channels to which they are rounded: biases are, even where weights of a few bits meet events of one.
    """
    rounded = [form.frac for op, form in zip(part.program.ops, formats, strict=True) if op.head == CHANNEL]
    while True:
        fracs = [weight.frac + said.frac for weight, said in zip(weights, spoken, strict=True)]
        sides = [replace(side, weight=form.quantise(side.weight)) for side, form in zip(part.sides, weights)]
        frac = max(fracs)
        if _most(part, sides, spoken, fracs, frac) < 2.0**FURTHEST:
            break
        finer = int(np.argmax(fracs))
        weights[finer] = replace(weights[finer], frac=weights[finer].frac - 1)

    def narrow(frac):
        return _most(part, sides, spoken, fracs, frac) < 2.0**30 and frac - min(rounded, default=frac) <= 30

    def fits(frac):
        return narrow(frac) if is_narrow else _most(part, sides, spoken, fracs, frac) < 2.0**FURTHEST

    is_narrow = narrow(frac)
    while frac < max(rounded, default=frac) and fits(frac + 1):
        frac += 1
    bias = np.floor(np.ldexp(part.bias, frac) + 0.5).astype(np.int64)
    shifts = tuple(frac - one for one in fracs)
    return sides, Sum(frac, 32 if is_narrow else 64, shifts, tuple(weights)), bias


def _most(part, sides, spoken, fracs, frac):
    """What no |sum| of the part is above, in mantissas of that frac, and no |bias| or what is heard, shifted."""
    bound = np.ldexp(np.abs(part.bias), frac).T + 1
    for side, said, one in zip(sides, spoken, fracs, strict=True):
        bound[:, list(side.fed)] += np.maximum(side.largest(part.units), 1) * (2.0 ** (frac - one) * said.top)
    return bound.max(initial=0)
