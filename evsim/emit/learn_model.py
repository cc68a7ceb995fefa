"""model.h and model.c of a network that learns on the device: the network's own, its weights, M and the update."""

from textwrap import wrap

import numpy as np

from evsim.check import check_choice
from evsim.emit import model as plain
from evsim.emit.layers import PartText
from evsim.emit.learn_loss import ADD, FINITE, STATUS, LossWriter
from evsim.emit.learn_part import LearnFloats, LearnPart
from evsim.emit.learn_places import mentions
from evsim.emit.learn_plan import METHODS
from evsim.emit.text import Field, smallest
from evsim.loss import KINDS


class LearningModel(plain.Model):
    """The C of a network and its learner, in float32.

    parts: as `evsim.emit.model.Model` has them. plan: the `evsim.emit.learn_plan.LearnPlan`. loss: name of a loss.
    """

    def __init__(self, parts, prefix, plan, loss="cross_entropy"):
        self.plan = plan
        self.loss = check_choice("loss", loss, KINDS)
        super().__init__(parts, prefix)
        self.writers = [text.writer for text in self.texts if isinstance(text, LearnPart) and text.writer]
        self.end = LossWriter(self, loss)
        self._tables()

    def _arithmetic(self):
        return LearnFloats(self.source, self.prefix)

    def _texts(self):
        plan, found = self.plan, []
        types = {"state": f"{self.prefix}_state", "event": f"{self.prefix}_event"}
        for k, part in enumerate(self.parts):
            below = found[-1] if found else None
            if k < plan.home and not part.is_readout:
                found.append(PartText(part, k, below, self.arithmetic))
                continue
            layer = plan.layers[k - plan.home] if k - plan.home < len(plan.layers) else None
            rows = below if isinstance(below, LearnPart) and below.writer else None
            found.append(LearnPart(plan, layer, k, rows, self.arithmetic, types))
        return found

    status = (*plain.STATUS, *STATUS)
    cleared = "offsetof({p}_state, weights)"

    @property
    def prototypes(self):
        return self.end.prototypes()

    def _tables(self):
        """Tables of M's blocks, and the functions that use them."""
        source, plan, blocks = self.source, self.plan, self.plan.blocks
        if plan.layers:
            tables = {
                "block_set": blocks.of, "block_column": blocks.column, "block_width": blocks.width,
                "block_at": blocks.at, "span_unit": blocks.member, "span_member": blocks.span,
                "span_row": np.pad(blocks.row, ((0, 0), (0, 1))),
            }  # fmt: skip
            for name, values in tables.items():
                source.table(name, values, smallest(int(values.max())))
        source.table("weights", plan.net.theta[plan.base : plan.base + plan.trained], "float")
        add = [] if plan.method == "readout" and not plan.leaky else [ADD.strip().split("\n")]
        self.functions = [FINITE.strip().split("\n"), *add, *self.functions, *self.end.functions()]
        lines = [line for function in self.functions for line in function] + [self.end.public()]
        source.keep([mentions(name, lines) for _, name, _, _ in source.tables])

    def fields(self):
        """Members of the state; those from `weights` on outlive a reset."""
        plan, found = self.plan, super().fields()
        found += [Field("uint8_t", "stepped", 0, "whether a step was taken that may be learnt from")]
        found += [Field("float", "error", self.n_out, "scratch: derivative of the loss to the outputs")]
        if plan.layers:
            if not plan.leaky:
                units = plan.layers[-1].cell.units
                found.append(Field("float", "delta", units, "scratch: the same, to the top layer's events"))
            if plan.shown:
                count = plan.shown * plan.chunk
                found.append(Field("float", "shown", count, "scratch: some columns of d(event)/d(theta)"))
            if plan.places:
                found.append(Field(plan.place_type, "place", plan.places, "scratch: which row of a block is a unit's"))
            found.append(Field("float", "influence", plan.blocks.entries, "d(state)/d(theta), by blocks"))
        found += [Field("float", "weights", plan.trained, "all that is trained; it outlives a reset, as the rest does")]
        found += [Field("float", "gradient", plan.trained, "sum of the gradients since the last update")]
        return [*found, Field("float", "loss", 0, "sum of the losses since the last update")]

    def _defines(self):
        u = self.upper
        lines = [
            f"#define {u}_TRAINED {self.plan.trained} /* parameters: {METHODS[self.plan.method]} */",
            "/* Where in weights and gradient whose parameters begin. A unit's lie together: those of its inputs,",
            "   source by source, of its recurrence, its biases, and what else of it is trained; those of a linear",
            "   readout: all weights, output by output, then its biases. */",
        ]
        lines = [*super()._defines(), *lines]
        for name, at, order in self._firsts():
            lines.append(f"#define {u}_FIRST_{name} {at}")
            if order != sorted(order):
                told = f"/* its units follow so: {', '.join(map(str, order))} */"
                lines += wrap(told, 110, subsequent_indent="   ")
        return lines

    def _firsts(self):
        """(name, first place, units in the order of their parameters) for each layer and the readout."""
        plan, layout = self.plan, self.plan.net.layout
        found = []
        for layer in plan.layers:
            first = layout.layers[layer.index].first
            here = layout.start[first:][: layer.cell.units]
            found.append((layer.name.upper(), int(here.min()) - plan.base, np.argsort(here, kind="stable").tolist()))
        return found if plan.leaky else [*found, ("READOUT", layout.unit_columns - plan.base, [])]

    def _interface(self):
        text = super()._interface()
        done = "    if (count != NULL) {"
        return text.replace(done, "    state->stepped = 1;\n" + done, 1) + "\n" + self.end.public() + "\n"
