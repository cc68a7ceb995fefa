"""One part in C whose weights are learnt on the device: they lie in the state, and a step leaves its slopes there."""

from types import SimpleNamespace

import numpy as np

from evsim.derivative import PSI
from evsim.emit.floats import Floats
from evsim.emit.layers import PartText
from evsim.emit.learn_layer import LayerWriter
from evsim.emit.learn_places import edges_of, placed
from evsim.emit.text import Field, indent, number
from evsim.fixed.lower import CONSTANT, GREATER
from evsim.fixed.parts import Part
from evsim.layout import Edges
from evsim.program import CHANNEL, LOCAL, NUMBER, Program
from evsim.surrogate import KINDS
from evsim.symbols import EVENT

_PSI = {
    "triangle": """{{
    const float distance = fabsf(x);
    return distance >= {half_width} ? 0.0f : {height} * (1.0f - distance / {half_width});
}}""",
    "boxcar": """{{
    return fabsf(x) >= {half_width} ? 0.0f : {height};
}}""",
    "superspike": """{{
    const float y = 1.0f + {slope} * fabsf(x);
    return 1.0f / (y * y);
}}""",
}
assert _PSI.keys() == KINDS.keys()


class LearnFloats(Floats):
    """float32, with pseudo-derivatives."""

    def operation(self, part, place, names):
        if part.program.ops[place].head == PSI:
            return f"{part.name.replace('layers.', 'layer')}_psi({names[0]})"
        return super().operation(part, place, names)


class LearnPart(PartText):
    """A part of the network, as `PartText`.

    plan, layer: the `LearnPlan`, and its `LayerPlan` of this part, which a linear readout has not (None). below: the
    LearnPart beneath, if M has rows for it. types: {"state": ..., "event": ...} as C calls them.
    """

    def __init__(self, plan, layer, index, below, arithmetic, types):
        self.plan, self.layer, self.types = plan, layer, types
        self.local: list[str] = []
        self.moved: dict[int, int] = {}
        super().__init__(_lowered(layer, self.moved) if layer else _linear(plan.net), index, below, arithmetic)
        self.writer = self._writer() if layer else None

    def _learn_of_tables(self):
        source, plan, net = self.arithmetic.source, self.plan, self.plan.net
        self.names = {}
        if self.layer is None:
            (n_out, top), _, places = net.layout.names["readout.weight"]
            ptr, heard = np.arange(n_out + 1) * top, np.tile(np.arange(top), n_out)
            self.inp = edges_of(source, "readout_in", Edges(ptr, heard, places), top, (0,), plan.base)
            self.rec, self.bias_at = None, placed(source, "", net.layout.names["readout.bias"][2] - plan.base)
            return
        cell, below = self.layer.cell, plan.net.stack[self.layer.index - 1].units if self.layer.index else net.n_in
        place = net.layout.layers[self.layer.index]
        self.inp, self.rec = (
            edges_of(source, f"{self.name}_{side}", edges, sources, fed, plan.base) if len(edges.source) else None
            for side, edges, sources, fed in (
                ("in", place.inp, below, cell.in_channels), ("rec", place.rec, cell.units, cell.rec_channels)
            )
        )  # fmt: skip
        self.bias_at = placed(source, f"{self.name}_bias_at", self.layer.bias_at)
        self.local = [self._local(name, net.theta[place.local_at[:, k]]) for k, name in enumerate(cell.local)]
        for place, op in ((place, self.layer.derivative.program.ops[place]) for place in self.moved):
            if op.head == NUMBER:
                self.names[self.moved[place]] = number(op.value, "float")
            elif op.head == LOCAL:
                self.names[self.moved[place]] = self.local[op.index].format(i="i")
        zero = [k for k, op in enumerate(self.part.program.ops) if op.head == CONSTANT and k not in self.names]
        self.names |= {k: "0.0f" for k in zero}  # what events are compared with

    def _local(self, name, values):
        """The form of a local parameter of unit {i}: in the state if it is trained."""
        cell = self.layer.cell
        if name in cell.trained():
            return f"s->weights[{self.bias_at} + {len(cell.channels) + cell.trained().index(name)}u]"
        if np.all(values == values[0]):
            return number(values[0], "float")
        return self.arithmetic.source.table(f"{self.name}_{name}", values, "float") + "[{i}]"

    def _writer(self):
        source, name, layer = self.arithmetic.source, self.name, self.layer
        own = placed(source, f"{name}_row", layer.own)
        stride = placed(source, f"{name}_stride", layer.stride) if layer.states > 1 else ""
        kept = [f"s->{self.kept_name(k)}[{{i}}]" for k in range(len(self.part.kept))]
        below = self.below.writer if self.below is not None else None
        return LayerWriter(
            self.types, self.plan, layer, kept, self.local, self.inp, self.rec, own, stride, self.bias_at,
            (f"s->{self.events}_before", f"s->{self.spoken}_before"), below,
        )  # fmt: skip

    @property
    def fields(self):
        found = super().fields
        if self.writer and self.rec:
            title = self.layer.title
            found.append(Field("event", f"{self.events}_before", self.part.units, f"events of {title} a step ago"))
            found.append(Field("uint16_t", f"{self.spoken}_before", 0, f"how many events {title} had then"))
        return found + (self.writer.fields() if self.writer else [])

    def functions(self, state, event):
        """Lists of lines: all functions of the part."""
        found = [self._psi()] if self.layer and any(op.head == PSI for op in self.part.program.ops) else []
        return [*found, self.function(state, event), *(self.writer.functions() if self.writer else [])]

    def calls(self, heard):
        """Names of the functions that a step calls one after the other, all with what was heard."""
        return [f"{self.advance}(state, {heard});"] + (
            [f"{self.name}_carry(state);", f"{self.name}_own(state, {heard});"] if self.writer else []
        )

    def _psi(self):
        pseudo = self.layer.cell.pseudo
        sizes = {name: number(getattr(pseudo, name), "float") for name in ("height", "half_width", "slope")}
        head = f"/* pseudo-derivative of an event ({pseudo.kind}) */\nstatic float {self.name}_psi(float x)\n"
        return (head + _PSI[pseudo.kind].format(**sizes)).split("\n")

    def _begin(self):
        channels = len(self.part.channels)
        at = self.bias_at.format(i="i")
        lines = [f"for (size_t i = 0; i < {self.part.units}u; ++i) {{"]
        for g in range(channels):
            to = f"i * {channels}u + {g}u" if channels > 1 else "i"
            lines.append(f"    s->{self.sums}[{to}] = s->weights[{at}{f' + {g}u' if g else ''}];")
        return [*lines, "}"]

    def _hear(self):
        lines = [] if self.inp else ["(void)heard;", "(void)n;"]
        channels = len(self.part.channels)
        own = f"s->{self.events}", f"s->{self.spoken}"
        for edges, (events, count) in ((self.inp, ("heard", "n")), (self.rec, own)):
            if edges:
                body = [f"float *to = &s->{self.sums}[i{f' * {channels}u' if channels > 1 else ''}];"]
                for row, g in enumerate(edges.fed):
                    body.append(f"to[{g}] += s->weights[at{f' + {row}u' if row else ''}] * z;")
                lines += [f"for (size_t k = 0; k < {count}; ++k) {{", f"    const size_t j = {events}[k].index;"]
                lines += [f"    const float z = {events}[k].value;", *indent(edges.loop("j", body)), "}"]
        return lines

    def _units(self):
        lines = super()._units()
        if not self.writer:
            return lines
        loop = next(k for k, line in enumerate(lines) if line.startswith("for"))
        lines[loop + 1 : loop + 1] = indent(self.writer.remember())
        if self.rec:
            before = [
                f"for (size_t k = 0; k < s->{self.spoken}; ++k) {{",
                f"    s->{self.events}_before[k] = s->{self.events}[k];",
                "}",
                f"s->{self.spoken}_before = s->{self.spoken};",
            ]
            lines = before + lines
        return lines

    def _results(self):
        lines = super()._results()
        if self.layer:
            for place in self.layer.slopes:
                name = f"{self.layer.name}_{self.layer.names[place]}"
                lines.append(f"s->{name}[i] = {self.names[self.moved[place]]};")
        return lines


def _lowered(layer, moved):
    """The `Part` of a layer with its derivative: moved, a dict that is filled: place there -> place in its program."""
    old, new = layer.derivative.program, Program()
    needed = old.needed([*layer.slopes, *old.kept, old.y])
    for place, op in ((place, op) for place, op in enumerate(old.ops) if needed[place]):
        parts = [moved[part] for part in op.parts]
        if op.head in (NUMBER, LOCAL):
            moved[place] = new.add(CONSTANT, index=place)
        elif op.head == EVENT:
            moved[place] = new.add(GREATER, *parts, new.add(CONSTANT, index=-1))
        else:
            moved[place] = new.add(op.head, *parts, index=op.index)
    new.kept, new.y = tuple(moved[place] for place in old.kept), moved[old.y]
    cell = layer.cell
    kept = [*cell.kept, *(f"slope{k}" for k in range(len(new.kept) - len(cell.kept)))]
    return _part(layer.title, cell.kind, cell.units, cell.channels, tuple(kept), new)


def _linear(net):
    program = Program()
    program.y = program.add(CHANNEL)
    return _part("readout", net.readout.kind, net.n_out, ("out",), (), program)


def _part(name, kind, units, channels, kept, program):
    nothing = SimpleNamespace()  # weights are found in the state
    return Part(name, kind, units, channels, kept, nothing, None, nothing, program, [])  # pyright: ignore
