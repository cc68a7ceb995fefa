"""Cost: how many multiply-adds a step takes, from the network's structure and from how active it is; nothing is run.

What the kernels count (`evsim.opcount`) comes to this when every unit speaks, hears and is near its threshold as often
as all others, independently. A learner's `cost` gives it before the first step.
"""

from typing import Any, NamedTuple

import numpy as np

from evsim.check import check_fraction
from evsim.lanes import UNIT
from evsim.structure import pairs

# Time of a multiply-add in a sweep for many rows and in a matrix product, where one in a row of M takes 1: fixed, so
# that what is computed, and in which order, does not depend on the clock. `evsim plan` measures them.
SWEEP, PRODUCT = 2.2, 0.45
BLOCKS = tuple(2**k for k in range(1, 11))  # what block="auto" chooses from, and 1
ENOUGH = 1.1  # it takes the shortest that costs no more than so many times the least
LANES = {UNIT: 1.35, 2 * UNIT: 1.13, 4 * UNIT: 1.0}  # and the time that each takes, as it was measured
HELD = 2**25  # bytes of a block's history that may be held; where there is more, it is made twice


def lanes_of(states):
    """How many end states to carry back side by side: many are quick, but lanes that stay empty cost as much."""
    return min(LANES, key=lambda lanes: -(-states // lanes) * lanes * LANES[lanes])


def is_held(states, block, itemsize):
    """Is the history of all rows over a block held, so that it need not be made twice."""
    lanes = lanes_of(states)
    return -(-states // lanes) * lanes * (block + 1) * (states + 1) * itemsize <= HELD


class Rates(NamedTuple):
    """How active a network is: fractions of units with an event, of units with phi != 0, of inputs that are not 0."""

    activity: float = 0.1
    phi_rate: float = 0.2
    input_activity: float = 1.0

    @classmethod
    def checked(cls, **given):
        """From numbers in [0, 1]; ValueError otherwise."""
        return cls(**{name: check_fraction(name, value) for name, value in given.items()})


class Work:
    """Multiply-adds of one step of one stream, by what is done. quiet: is M read for all units at each step, or at the
    top alone."""

    def __init__(self, net, rates=None, quiet=False):
        self.net, self.rates = net, rates or Rates()
        layout, cells = net.layout, net.stack
        self.level = np.repeat(np.arange(len(cells)), [c.units for c in cells])
        self.states = np.array([len(c.states) for c in cells])[self.level]
        self.memory = np.array([c.memory for c in cells])[self.level]
        # entries of A that are not 0: the diagonal, and others where an event has a derivative
        others = self.rates.phi_rate * self.states * (self.states - 1)
        self.leaks = self.memory * (self.states + others)
        spiking = np.arange(len(cells)) < len(net.layers)  # a leaky readout always speaks
        self.speaks = np.where(spiking, self.rates.activity, 1.0)[self.level]
        self.moves = np.where(spiking, self.rates.phi_rate, 1.0)[self.level]
        edges = []
        self.inputs = np.zeros(layout.units)  # fed weights of each unit from the network's inputs
        for k, (cell, place) in enumerate(zip(cells, layout.layers, strict=True)):
            here = place.first + np.repeat(np.arange(place.units), np.diff(place.rec.ptr))
            edges.append((here, place.first + place.rec.source, len(cell.rec_channels)))
            degree = np.diff(place.inp.ptr)
            if k == 0:
                self.inputs[: place.units] = degree * len(cell.in_channels)
            else:
                here = place.first + np.repeat(np.arange(place.units), degree)
                edges.append((here, layout.layers[k - 1].first + place.inp.source, len(cell.in_channels)))
        self.target, self.source = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
        self.fed = np.concatenate([np.full(len(target), fed) for target, _, fed in edges])
        own = [len(c.channels) + len(c.states) * len(c.trained()) for c in cells]
        self.own = np.array(own)[self.level]
        self.heard = self.inputs * self.rates.input_activity + np.bincount(
            self.target, self.fed * self.speaks[self.source], layout.units
        )
        self.recurrent = self.level[self.target] == self.level[self.source]
        wanted = np.where(self.memory, 1.0, self.moves)  # chance that a unit's row is computed
        self.wanted = wanted
        self.flows = self.states[self.target] * wanted[self.target] * self.moves[self.source]
        first, top, weights = layout.top
        self.top = np.arange(first, first + top) if weights >= 0 else np.flatnonzero(self.level == len(cells) - 1)
        self.read = np.arange(layout.units) if quiet else self.top
        self.read_out = 0.0 if weights < 0 else net.n_out * float(self.speaks[self.top].sum())

    def forward(self):
        """Pre-activations and readout."""
        return float(self.heard.sum()) + self.read_out

    def columns(self, sets):
        """Columns of M that each unit has a row over."""
        return pairs(*sets) @ self.net.layout.width

    def stepping(self, sets, recurrent=True):
        """M advanced at every step, over the structure `sets`."""
        columns = self.columns(sets)
        use = np.ones(len(self.target), bool) if recurrent else ~self.recurrent
        shared = self._shared(sets, use, columns)
        flow = float((self.flows[use] * shared).sum())
        # a row of one state leaks by a factor alone, until something arrives
        silent = np.log1p(-np.minimum(self.moves[self.source[use]] * shared / columns[self.target[use]], 1 - 1e-9))
        idle = np.where(self.states == 1, np.exp(np.bincount(self.target[use], silent, len(columns))), 0.0)
        leak = float(((columns - idle * (columns - self.net.layout.width)) * self.leaks).sum())
        own = float((self.states * self.wanted * (self.heard + self.own)).sum())
        return flow + leak + own + float((self.states * self.moves * columns)[self.read].sum()) + 2 * self.read_out

    def extras(self, sets, recurrent=True):
        """What stepping takes beside: the coefficients B W of its edges, and rows of Y kept for others."""
        return self.coefficients(1, recurrent) + self._kept(sets, recurrent)

    def coefficients(self, gains=0, recurrent=True):
        """B W of edges along which influence flows; gains: 1 if each is multiplied by its source's gain as well."""
        use = np.ones(len(self.target), bool) if recurrent else ~self.recurrent
        return float((self.flows * (self.fed + gains))[use].sum())

    def _kept(self, sets, recurrent):
        """Rows of Y made for others to hear."""
        heard = np.zeros(len(self.level), bool)
        heard[self.source if recurrent else self.source[~self.recurrent]] = True
        rows = self.states * self.moves * (self.memory & heard)
        return float((rows * self.columns(sets)).sum())

    def _shared(self, sets, use, columns):
        """Columns over which both ends of each edge have a row."""
        target, source = self.target[use], self.source[use]
        if sets[1] is self.net.layout.sets:
            return columns[source]
        reach, found = pairs(*sets), np.zeros(len(target))
        for k in range(0, len(target), 4096):
            here = slice(k, k + 4096)
            found[here] = reach[target[here]].multiply(reach[source[here]]) @ self.net.layout.width
        return found

    def sweep(self):
        """One row carried back over one step: backpropagation."""
        heard = self.moves[self.source] + self.speaks[self.source]
        edges = float((self.fed * heard * self.wanted[self.target]).sum())
        inputs = float((self.inputs * self.rates.input_activity * self.wanted).sum())
        return edges + inputs + float((self.wanted * (self.own + self.states**2)).sum()) + 2 * self.read_out

    def rank_one(self):
        """UORO: a sweep back over one step, its tangent, and two vectors scaled."""
        edges = float((self.fed * self.moves[self.source] * self.wanted[self.target]).sum())
        return self.sweep() + edges + 3.0 * self.net.layout.unit_columns + 2.0 * float(self.states.sum())

    def rows(self, block):
        """All rows carried back over one step of a block, and what it adds to M."""
        passes = 1 if is_held(int(self.states.sum()), block, self.net.dtype.itemsize) else 2
        rows = float((self.states * self.wanted).sum())
        leak = float(self.leaks.sum())
        own = float((self.wanted * (self.heard + self.own)).sum())
        return rows * (passes * (float(self.flows.sum()) + leak) + own)

    def product(self, sets):
        """The matrix product at a block's end."""
        columns = self.columns(sets)
        total = 0.0
        for k, reached in enumerate(sets[1]):
            width = float(self.net.layout.width[sets[0] == k].sum())
            rows = float((self.states * self.wanted)[reached].sum())
            total += rows * rows * width
        return total + float(columns.sum())  # and the loss row over M

    def block(self, sets, block):
        """Multiply-adds of a step when M is advanced every `block` steps: (learning, its time in units of stepping)."""
        stepping = self.stepping(sets)
        extras = self.extras(sets)
        if block == 1:
            return stepping + extras, stepping
        rows, product, sweep = self.rows(block), self.product(sets) / block, self.sweep()
        swept = SWEEP * (rows + sweep) + PRODUCT * product
        if swept < stepping:
            return rows + sweep + product + self.coefficients(), swept
        return stepping + extras + sweep, stepping + SWEEP * sweep


class Costed:
    """What a learner says of its cost before it has run."""

    net: Any
    quiet: Any
    _check_masks: Any

    def cost(self, activity=0.1, phi_rate=0.2, input_activity=1.0):
        """dict of the multiply-adds to expect of one step of one stream: "forward", "learn" and their sum, "total".

        activity, phi_rate: fractions of units with an event, and with d(event)/d(state) != 0, at a step;
        input_activity: of inputs that are not 0. Known before the first step; `ops` has what was counted.
        """
        rates = Rates.checked(activity=activity, phi_rate=phi_rate, input_activity=input_activity)
        self._check_masks()
        work = Work(self.net, rates, self.quiet is not None)
        forward, learn = work.forward(), self._work_of(work)
        return {"forward": forward, "learn": learn, "total": forward + learn}

    def _work_of(self, work):
        """Multiply-adds of learning, of one step of one stream, for an `evsim.cost.Work`."""
        raise NotImplementedError
