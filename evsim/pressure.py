"""Pressure: what `evsim.quiet.Quiet` asks of every unit at every step, as a derivative that learners carry on.

A unit's price depends on its own state s and local parameters q at the step alone. `force` is its derivative to s,
`force_q` to q with s fixed; where `pressed` is False, both are 0 and not to be read.
"""

import numpy as np

from evsim.cell import Cell
from evsim.jit import bind, jit
from evsim.memory import zeros
from evsim.quiet import OVER


@jit
def press(
    lo, hi, start, steps, spans, over, strength, pull, cost, keep, target, margin, y, phi, D, gap, gap_s, gap_q,
    charged, pressed, force, force_q, rate, penalty,
):  # fmt: skip
    """Prices of slots start + 1..start + steps of streams lo..hi-1, added to penalty[b], and their derivatives.

    spans: first unit, units, states and local parameters of each layer. target, margin: of each unit; a target that is
    NaN is none; over: place in `evsim.quiet.OVER`. charged[b, t]: does slot t cost anything; if not, rates stay as they
    are too. rate[b]: how often each unit has spoken of late, brought up to date by 1 - keep a step.
    """
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            pressed[b, t] = False
            if not charged[b, t]:
                continue
            some, total = False, 0.0
            for level in range(spans.shape[0]):
                first, n, states, local = spans[level, 0], spans[level, 1], spans[level, 2], spans[level, 3]
                spoken, mean = 0, 0.0
                for u in range(first, first + n):
                    said = y[b, t, u] != 0
                    spoken += said
                    rate[b, u] = keep * rate[b, u] + (1.0 - keep) * said
                    mean += rate[b, u] / n
                for u in range(first, first + n):
                    off = 0.0
                    if target[u] == target[u]:
                        found = rate[b, u] if over == 0 else mean if over == 1 else spoken / n
                        off = found - target[u]
                    total += 0.5 * strength * off * off
                    push, near = strength * off * gap[b, t, u, 1], gap[b, t, u, 0] + margin[u]
                    if near > 0:
                        push += pull
                        total += pull * near
                    v, along = y[b, t, u], 0.0
                    if v != 0:
                        along = cost if v > 0 else -cost
                        total += along * v
                    for k in range(states):
                        felt = push * gap_s[b, t, u, k] + along * phi[b, t, u, k]
                        force[b, t, u, k] = felt
                        some = some or felt != 0
                    for q in range(local):
                        felt = push * gap_q[b, t, u, q] + along * D[b, t, u, q]
                        force_q[b, t, u, q] = felt
                        some = some or felt != 0
            pressed[b, t] = some
            penalty[b] += total


def check_thresholds(layers):
    """ValueError for a layer of which nobody knows how far its units are above their thresholds."""
    for k, cell in enumerate(layers):
        if type(cell).above is Cell.above:
            told = f"layers.{k} is of kind {cell.kind!r}, which does not say how far units are above their thresholds"
            raise ValueError(f"{told}: leave quiet out, or write its method `above`")


class Pressure:
    """The prices of one learner's network: tables for the kernel, and for each stream how often units have spoken."""

    def __init__(self, net, quiet, streams):
        check_thresholds(net.layers)
        self.net, self.quiet = net, quiet
        self.rate = zeros((streams, net.layout.units), np.float64)
        self.penalty = zeros(streams, np.float64)
        places = net.layout.layers[: len(net.layers)]
        self._spans = np.array(
            [(p.first, p.units, len(c.states), len(c.local)) for p, c in zip(places, net.layers, strict=True)], np.int64
        )
        self._target, self._margin = np.zeros((2, net.layout.units))
        self.refresh()
        self.rate[:] = np.nan_to_num(self._target)  # nobody is charged for what has not been seen

    @property
    def arrays(self):
        """All arrays."""
        return [self.rate, self.penalty, self._spans, self._target, self._margin]

    def take(self, before):
        """Go on from another's rates and penalties, which had fewer streams."""
        self.rate[: len(before.rate)] = before.rate
        self.penalty[0] = before.penalty.sum()

    def heed(self, other):
        """Take over another's rates, of those streams that both have room for."""
        both = min(len(self.rate), len(other.rate))
        self.rate[:both] = other.rate[:both]

    def refresh(self):
        """Take margins from the layers as they are now."""
        units = sum(cell.units for cell in self.net.layers)
        self._target[:units] = self.quiet.targets(self.net.layers)
        self._margin[:units] = self.quiet.margins(self.net.layers)

    def call(self, forward):
        """The kernel as a function of lo, hi, start and steps, on a Forward that was made with learn=3."""
        f, quiet = forward, self.quiet
        keep = 1.0 - 1.0 / quiet.horizon
        numbers = OVER.index(quiet.over), quiet.strength, quiet.pull, quiet.event_cost, keep
        return bind(press, (
            self._spans, *numbers, self._target, self._margin, f.y, f.phi, f.D, f.gap, f.gap_s, f.gap_q, f.charged,
            f.pressed, f.force, f.force_q, self.rate, self.penalty,
        ))  # fmt: skip
