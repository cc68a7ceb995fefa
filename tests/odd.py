"""A cell that nobody would use, whose equations do what the cells of evsim do not."""

from dataclasses import dataclass

import evsim
from evsim.cell import Cell


@dataclass(frozen=True, eq=False)
class Odd(Cell):
    """Keeps what was kept, and gates, and events of two steps ago; negates, subtracts from constants, compares with 0.

    It has equations only: no kernel runs it.
    """

    threshold: float = 0.4
    shift: float = -0.3
    learn_threshold: bool = False
    learn_shift: bool = False

    kind = "odd"
    channels = ("p", "q")
    in_channels = (0, 1)
    rec_channels = (1,)
    states = ("v", "u", "gate", "late", "before", "q")
    local = ("threshold", "shift")
    about = {"threshold": "what v must exceed", "shift": "below what v is moved"}
    kept = ("v", "the gate", "int", "o*/", "o before", "q")
    stored = 0
    kernel = None
    source = "made up"

    def advance(self, m, w, a, q):
        gate = m.sigmoid(a[0])
        v = (w[0] - w[3] * w[0]) * w[2] - q[1] + a[1] * gate
        u = m.tanh(-(v - w[1]) * (a[1] - w[5])) + w[4] * 3.0 - q[0]
        return v, u, gate, w[1], w[3], a[1]

    def above(self, s, q):
        return s[0] + s[1]

    def emit(self, m, s, q):
        return self.spoken(m, s, q) * -s[1]

    def keep(self, m, s, q):
        return s[0], s[2], s[3], self.spoken(m, s, q), s[4], s[5]


def network(readout=None, units=6):
    """A stack of one layer of it; five inputs."""
    return evsim.Network(5, [Odd(units, density=0.6)], readout or evsim.Readout(3), seed=2)
