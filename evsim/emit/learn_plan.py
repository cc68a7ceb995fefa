"""Which numbers a learner in C holds, and where: decided before any code is written.

The influence matrix M = d(state)/d(parameters) is cut into blocks: the columns of neighbouring source units that can
reach the same units, with one row for each state of each of those units; nothing else of M exists. Columns are numbered
as in `Network.theta`, without those that are not trained; so one number finds a weight, its gradient and its column.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evsim.check import check_choice
from evsim.derivative import Derivative, differentiate
from evsim.emit.text import smallest
from evsim.program import LOCAL, NEGATE
from evsim.structure import within

METHODS = {
    "exact": "exact real-time recurrent learning",
    "snap1": "SnAp-1: influence that takes a recurrent weight to pass is dropped, but for a unit's weight to itself",
    "eprop": "e-prop: influence through recurrent weights is dropped",
    "readout": "the readout alone is trained",
}
CHUNK = 16  # columns of M that are carried through a layer at once: what is held beside M is that wide


@dataclass(frozen=True)
class LayerPlan:
    """A layer that M has rows for. first: its first unit, counted from the lowest such layer on.

    slopes: places in the derivative's program of what a step leaves behind for each unit, beside what is kept. was:
    those of phi and D, which the next step reads as they were; none where no influence passes recurrent weights.
    own: of each unit, where in M column 0 of its first row would stand, were its block that wide. stride: the width of
    its block. bias_at: column of its first bias; trained local parameters stand behind the biases. recalls: does
    influence pass from unit to unit of the layer? shows: does it pass to a layer above?
    """

    index: int  # in net.stack
    cell: Any
    title: str  # as its parameters are called
    first: int
    derivative: Derivative
    slopes: tuple[int, ...]
    was: tuple[int, ...]
    own: np.ndarray
    stride: np.ndarray
    bias_at: np.ndarray
    recalls: bool
    shows: bool

    @property
    def name(self):
        return "readout" if self.title == "readout" else f"layer{self.index}"

    @property
    def states(self):
        return len(self.cell.states)

    @cached_property
    def names(self):
        """Place of a slope -> its name: a01 for the entry of A in row 0 and column 1."""
        found, named = self.derivative, {}
        for letter, table in (("a", found.A), ("b", found.B), ("c", found.C)):
            for k, row in enumerate(table):
                for column, place in enumerate(row):
                    named.setdefault(positive(found.program, place), f"{letter}{k}{column}")
        for letter, places in (("phi", found.phi), ("d", found.D)):
            for k, place in enumerate(places):
                named.setdefault(positive(found.program, place), f"{letter}{k}")
        return named


@dataclass(frozen=True)
class Blocks:
    """of: place of each block's set. column, width, at: its columns, and where its first row begins in M.

    member: units of all sets, ascending in each, counted as in `LayerPlan`; those of layer l of set s stand from
    span[s, l] to span[s, l + 1], and their rows begin with row[s, l] of the block's.
    """

    of: np.ndarray
    column: np.ndarray
    width: np.ndarray
    at: np.ndarray
    member: np.ndarray
    span: np.ndarray
    row: np.ndarray
    entries: int


@dataclass
class LearnPlan:
    """method: one of METHODS. base: place in theta of the first parameter that is trained; trained: how many there are.

    recurrent: does influence pass recurrent weights. layers: those that M has rows for, bottom to top.
    """

    net: Any
    method: str
    base: int
    trained: int
    recurrent: bool
    blocks: Blocks
    layers: list[LayerPlan] = field(default_factory=list)
    chunk: int = CHUNK

    @property
    def leaky(self):
        """Is the readout a layer of the stack?"""
        return self.net.layout.top[2] < 0

    @property
    def place_type(self):
        """C type of a unit's place among those of its layer in a block; 0 stands for none."""
        return smallest(max((layer.cell.units for layer in self.layers), default=0))

    @property
    def home(self):
        """Place in net.stack of the lowest layer that is trained; that of a linear readout is behind the stack."""
        return self.layers[0].index if self.layers else len(self.net.stack)

    @property
    def places(self):
        """Units of the largest layer whose units are looked up in a block; 0 if there is none."""
        passing = [layer for k, layer in enumerate(self.layers) if layer.recalls or (k and self.layers[k - 1].shows)]
        return max((layer.cell.units for layer in passing), default=0)

    @cached_property
    def shown(self):
        """Rows of what units have shown that are held beside M: of one layer and block at a time."""
        if not self.recurrent or not self.layers:
            return 0
        counts = np.diff(self.blocks.span, axis=1)[:, [layer.recalls for layer in self.layers]]
        return int(counts.max(initial=0))


def plan_learner(net, method="exact"):
    """The `LearnPlan` of a network; ValueError for a method that is none of METHODS."""
    check_choice("method", method, METHODS)
    layout = net.layout
    leaky = layout.top[2] < 0
    if method == "exact":
        set_of_unit, sets = layout.set_of_unit, layout.sets
    else:
        set_of_unit, sets = within(layout, 0)
    lowest = 0
    if method == "readout":
        lowest = len(net.stack) - leaky
    first = layout.layers[lowest].first if lowest < len(layout.layers) else layout.units
    base = int(layout.start[first:].min(initial=layout.unit_columns))
    blocks, at_of, width_of = _blocks(net, lowest, first, base, set_of_unit, sets)
    chunk = int(min(CHUNK, blocks.width.max(initial=1)))
    plan = LearnPlan(net, method, base, layout.trained - base, method in ("exact", "snap1"), blocks, chunk=chunk)
    for index in range(lowest, len(net.stack)):
        plan.layers.append(_layer(plan, index, first, at_of, width_of))
    return plan


def _blocks(net, lowest, first, base, set_of_unit, sets):
    """Blocks of the columns of layers from `lowest` on; and by unit, where its own first row begins, and its width."""
    layout = net.layout
    states = np.repeat([len(cell.states) for cell in net.stack], [cell.units for cell in net.stack])
    edges = np.array([*(place.first for place in layout.layers[lowest:]), layout.units])
    of, column, width, at = [], [], [], []
    at_of, width_of = np.zeros(layout.units, np.int64), np.zeros(layout.units, np.int64)
    entries, key = 0, None
    for group in _neighbours(layout, first, set_of_unit, edges):
        key = set_of_unit[group[0]]
        members = sets[key]
        rows = np.cumsum(states[members]) - states[members]
        of.append(key)
        column.append(layout.start[group[0]] - base)
        width.append(layout.width[group].sum())
        at.append(entries)
        at_of[group] = entries + rows[np.searchsorted(members, group)] * width[-1]
        width_of[group] = width[-1]
        entries += int(states[members].sum()) * int(width[-1])
    used, of = np.unique(np.array(of, np.int64), return_inverse=True)
    sets = [sets[s] for s in used]
    begin = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    span = np.array([a + np.searchsorted(s, edges) for a, s in zip(begin, sets)]).reshape(len(sets), len(edges))
    row = [[states[s[s < edge]].sum() for edge in edges[:-1]] for s in sets]
    row = np.array(row, np.int64).reshape(len(sets), len(edges) - 1)
    member = np.concatenate([*sets, np.zeros(0, np.int64)]) - first
    column, width, at = (np.array(values, np.int64) for values in (column, width, at))
    return Blocks(of, column, width, at, member, span, row, entries), at_of, width_of


def _neighbours(layout, first, set_of_unit, edges):
    """Lists of units whose columns stand side by side and have the same rows."""
    found, last = [], None
    for u in (int(u) for u in layout.order if u >= first):
        key = (set_of_unit[u], np.searchsorted(edges, u, "right"))
        if key != last:
            found.append([])
        found[-1].append(u)
        last = key
    return found


def positive(program, place):
    """The place of what is negated at `place`, or `place`: a slope and its negative are stored once."""
    op = program.ops[place]
    return op.parts[0] if op.head == NEGATE else place


def _layer(plan, index, first, at_of, width_of):
    net = plan.net
    cell, place = net.stack[index], net.layout.layers[index]
    found = differentiate(cell)
    program = found.program
    shown = [positive(program, place) for place in (*found.phi, *found.D)]
    read = [positive(program, place) for table in (found.A, found.B, found.C) for row in table for place in row]
    read = [place for place in read if program.ops[place].head != LOCAL]  # a later step reads the others as they were
    slopes = [place for place in (*read, *shown) if not program.is_number(place) and place not in program.kept]
    moving = [place for place in shown if not program.is_number(place)]
    here = slice(place.first, place.first + cell.units)
    column = net.layout.start[here] - plan.base  # of the unit's first weight
    block = np.searchsorted(plan.blocks.column, column, "right") - 1
    recalls = plan.recurrent and len(place.rec.source) > 0
    above = net.layout.layers[index + 1 : index + 2]
    return LayerPlan(
        index, cell, place.names["bias"].removesuffix(".bias"), place.first - first, found,
        tuple(dict.fromkeys(slopes)), tuple(dict.fromkeys(moving)) if recalls else (),
        at_of[here] - plan.blocks.column[block], width_of[here], place.bias_at - plan.base, recalls,
        bool(above) and len(above[0].inp.source) > 0,
    )  # fmt: skip
