"""Places in C: lists of integers as a formula where they rise evenly, else as a table; and loops over edges."""

import re
from typing import NamedTuple

import numpy as np

from evsim.emit.text import indent, smallest


class Edges(NamedTuple):
    """One side's weights into a layer. over: form of the loop's head over what source {j} reaches; inside, `i` is the
    target and `at` the place of the edge's first weight, which the lines of `lead` see to.
    """

    over: str
    lead: tuple[str, ...]
    count: int
    fed: tuple[int, ...]

    def loop(self, j, body):
        """Lines that run `body` for every edge of source j; what it does not speak of is not looked up."""
        said = " ".join(body)
        lead = [line.format(j=j) for line in self.lead if re.search(rf"\b{line.split()[2]}\b", said)]
        return [self.over.format(j=j), *indent([*lead, *body]), "}"]


def placed(source, name, values):
    """The form of values[{i}] in C: a literal, a formula, or an entry of a table, which is then made in `source`."""
    values = np.asarray(values, np.int64)
    steps = np.unique(np.diff(values))
    if len(steps) <= 1:
        first, step = int(values[0]), int(steps[0]) if len(steps) else 0
        if step == 0:
            return f"{first}u"
        if step > 0:
            rising = "{i}" if step == 1 else f"{{i}} * {step}u"
            return f"({rising} + {first}u)" if first else rising if step == 1 else f"({rising})"
    return f"{source.table(name, values, smallest(int(values.max())))}[{{i}}]"


def edges_of(source, name, edges, sources, fed, base):
    """`Edges` of an `evsim.layout.Edges` with that many sources. base: what places in theta are counted from."""
    units, count = len(edges.ptr) - 1, len(edges.source)
    if count == units * sources:
        first = placed(source, f"{name}_first", edges.at[::sources] - base)
        j = "{j}" if len(fed) == 1 else f"{{j}} * {len(fed)}u"
        lead = (f"const size_t at = {first.format(i='i')} + {j};",)
        return Edges(f"for (size_t i = 0; i < {units}u; ++i) {{{{", lead, count, tuple(fed))
    ptr, target, at = edges.by_source(sources)
    places = at.astype(np.int64) - base
    source.table(f"{name}_ptr", ptr, smallest(count))
    source.table(f"{name}_target", target, smallest(units))
    source.table(f"{name}_at", places, smallest(int(places.max(initial=0))))
    over = f"for (size_t e = {name}_ptr[{{j}}]; e < {name}_ptr[{{j}} + 1u]; ++e) {{{{"
    return Edges(over, (f"const size_t i = {name}_target[e];", f"const size_t at = {name}_at[e];"), count, tuple(fed))
