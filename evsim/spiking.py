"""What units that spike share: a threshold, a leaky membrane, and a reset; in words and for kernels."""

from dataclasses import dataclass

import numpy as np

from evsim.cell import Cell
from evsim.check import check_choice
from evsim.jit import jit

RESETS = ("subtract", "zero")


@jit
def reset(zero, detach, v, o, h, threshold):
    """(R, d R/d v through v and o, d R/d o) of the membrane v with event o and d o/d v = h.

    R = v - v * o if zero, else v - threshold * o; detach: o has no derivative here.
    """
    if zero != 0:
        by_o = 0.0 if detach != 0 else -v
        return v - v * o, 1.0 - o + by_o * h, by_o
    by_o = 0.0 if detach != 0 else -threshold
    return v - threshold * o, 1.0 + by_o * h, by_o


@dataclass(frozen=True, eq=False)
class SpikingCell(Cell):
    """Base of units with binary events, y = o = H(v - threshold), and a membrane v that leaks and is reset.

    threshold: number or (n,). tau: membrane time constant in seconds, number or (n,), beta = exp(-dt / tau); or beta
    itself. reset: "subtract" takes the threshold off, "zero" clears the membrane, both before the next step's leak.
    learn_threshold, learn_beta: train them (exact columns in the influence matrix).
    """

    threshold: float | np.ndarray = 1.0
    tau: float | np.ndarray = 0.02
    beta: float | np.ndarray | None = None
    reset: str = "subtract"
    learn_threshold: bool = False
    learn_beta: bool = False

    in_channels = (0,)
    rec_channels = (0,)
    decays = {"beta": "tau"}
    about = {
        "threshold": "what v must exceed for an event, in the unit of v",
        "beta": "decay of v in one step, a factor; exp(-dt/tau), tau in s",
    }

    def check(self):
        super().check()
        check_choice("reset", self.reset, RESETS)

    def settings(self):
        return (*super().settings(), float(self.reset == "zero"))

    def after_reset(self, m, v, o, threshold):
        """What the event o leaves of the membrane v."""
        o = m.detach(o) if self.detach_reset else o
        return v - (v if self.reset == "zero" else threshold) * o
