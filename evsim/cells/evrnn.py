"""EvRNN: a recurrent network without memory of its own, whose units speak only above a threshold."""

from dataclasses import dataclass

import numpy as np

from evsim.cell import Cell
from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.surrogate import psi


@jit
def _run_evrnn(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward.

    Nothing is kept: A and C stay 0, B is 1.
    """
    n = bias_at.shape[0]
    kind, height, half_width, slope, graded = settings
    kind = int(kind)
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            listen(
                b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels,
                rec_channels, theta, y, a, active, count,
            )  # fmt: skip
            count[STEPS] += 1
            events, moving = 0, 0
            shown = y[b, t, first : first + n]
            for i in range(n):
                v, threshold = a[0, i], theta[local_at[i, 0]]
                o = 1.0 if v > threshold else 0.0
                shown[i] = o * v if graded != 0 else o
                events += o != 0
                if learn == 0:
                    continue
                h = psi(kind, v - threshold, height, half_width, slope)
                moved = o + v * h if graded != 0 else h
                moving += moved != 0
                if learn == 1:
                    continue
                u = first + i
                B[b, t, u, 0, 0] = 1.0
                phi[b, t, u, 0] = moved
                D[b, t, u, 0] = -v * h if graded != 0 else -h
                if learn == 3:
                    gap[b, t, u, 0] = v - threshold
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 0] = 1.0
                    gap_q[b, t, u, 0] = -1.0
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class EvRNN(Cell):
    """Event-based vanilla RNN (Subramoney 2023, arXiv 2303.05641, without its tanh).

    v_t = a_t, o = H(v_t - threshold), y_t = o * v_t, or y_t = o with graded=False. A unit with d y/d v = 0 has a row of
    zeros in the output's influence: it is not computed. detach_reset has no effect, for there is no reset.
    """

    threshold: float | np.ndarray = 0.5
    learn_threshold: bool = False
    graded: bool = True

    kind = "evrnn"
    channels = ("v",)
    in_channels = (0,)
    rec_channels = (0,)
    states = ("v",)
    local = ("threshold",)
    about = {"threshold": "what v must exceed for an event, in the unit of v"}
    kept = ()
    stored = 0
    memory = False
    kernel = staticmethod(_run_evrnn)
    source = "Subramoney: Efficient real time recurrent learning through activity and parameter sparsity (2023)"

    def settings(self):
        return (*self.pseudo.settings(), float(self.graded))

    def advance(self, m, w, a, q):
        return (a[0],)

    def above(self, s, q):
        return s[0] - q[0]

    def emit(self, m, s, q):
        o = self.spoken(m, s, q)
        return o * s[0] if self.graded else o

    def keep(self, m, s, q):
        return ()
