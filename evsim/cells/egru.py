"""EGRU: a gated recurrent unit that speaks only when its state crosses a threshold."""

import math
from dataclasses import dataclass

import numpy as np

from evsim.cell import Cell
from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.surrogate import psi


@jit
def _run_egru(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward.

    stored: s, d s/d c, d s/d threshold.
    """
    n = bias_at.shape[0]
    kind, height, half_width, slope, detach, always = settings
    kind = int(kind)
    for b in range(lo, hi):
        kept = stored[b, first : first + n]
        for t in range(start + 1, start + steps + 1):
            listen(
                b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels,
                rec_channels, theta, y, a, active, count,
            )  # fmt: skip
            count[STEPS] += 1
            events, moving = 0, 0
            shown = y[b, t, first : first + n]
            for i in range(n):
                threshold = theta[local_at[i, 0]]
                z = 1.0 / (1.0 + math.exp(-a[0, i]))
                r = 1.0 / (1.0 + math.exp(-a[1, i]))
                g = math.tanh(a[2, i] + r * a[3, i])
                e = kept[i, 0]
                c = z * e + (1.0 - z) * g
                o = 1.0 if always != 0 or c > threshold else 0.0
                shown[i] = o * c
                kept[i, 0] = c - o * threshold
                events += o != 0
                if learn == 0:
                    continue
                h = 0.0 if always != 0 else psi(kind, c - threshold, height, half_width, slope)
                moved = o + c * h
                moving += moved != 0
                if learn == 1:
                    continue
                u = first + i
                k = (1.0 - z) * (1.0 - g * g)
                A[b, t, u, 0, 0] = z * kept[i, 1]
                B[b, t, u, 0, 0] = (e - g) * z * (1.0 - z)
                B[b, t, u, 0, 1] = k * a[3, i] * r * (1.0 - r)
                B[b, t, u, 0, 2] = k
                B[b, t, u, 0, 3] = k * r
                C[b, t, u, 0, 0] = z * kept[i, 2]
                phi[b, t, u, 0] = moved
                D[b, t, u, 0] = -c * h
                through = 0.0 if detach != 0 else threshold * h
                kept[i, 1] = 1.0 - through
                kept[i, 2] = -o + through
                if learn == 3:
                    gap[b, t, u, 0] = c - threshold
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 0] = 1.0
                    gap_q[b, t, u, 0] = -1.0
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class EGRU(Cell):
    """Event-based GRU with the reset gate after the product (Subramoney et al. 2023, the form of their EvNN code).

    z = sigmoid(a_z), r = sigmoid(a_r), g = tanh(a_g + r * a_q), c_t = z * s_{t-1} + (1 - z) * g,
    o = H(c_t - threshold), y_t = o * c_t, s_t = c_t - o * threshold.
    Inputs feed z, r, g; recurrence feeds z, r, q; all four have a bias. height * threshold must stay below 1, or the
    state's own derivative could change sign. always: o = 1 at every step, with no derivative of its own: the control
    without activity sparsity of Subramoney (arXiv:2303.05641).
    """

    half_width: float = 0.2
    threshold: float | np.ndarray = 0.3
    learn_threshold: bool = True
    always: bool = False

    kind = "egru"
    channels = ("z", "r", "g", "q")
    in_channels = (0, 1, 2)
    rec_channels = (0, 1, 3)
    states = ("c",)
    local = ("threshold",)
    about = {"threshold": "what c must exceed for an event, in the unit of c"}
    kept = ("s",)
    stored = 3
    bias = {"z": 1.0}
    kernel = staticmethod(_run_egru)
    source = "Subramoney et al.: Efficient recurrent architectures through activity sparsity (ICLR 2023)"

    def check_local(self, name, values):
        super().check_local(name, values)
        if self.pseudo.peak * values.max() >= 1:
            raise ValueError(
                f"height * threshold = {self.pseudo.peak * values.max():g} for an EGRU: it must stay below 1; "
                "lower the threshold or the surrogate's height"
            )

    def bounds(self, name):
        top = 1.0 if self.pseudo.peak < 1 else 0.999 / self.pseudo.peak
        return (1e-3, top)

    def settings(self):
        return (*super().settings(), float(self.always))

    def advance(self, m, w, a, q):
        z, r, g, inner = a
        z, r = m.sigmoid(z), m.sigmoid(r)
        return (z * w[0] + (1.0 - z) * m.tanh(g + r * inner),)

    def emit(self, m, s, q):
        return self.spoken(m, s, q) * s[0]

    def keep(self, m, s, q):
        o = self.spoken(m, s, q)
        return (s[0] - (m.detach(o) if self.detach_reset else o) * q[0],)

    def above(self, s, q):
        return s[0] - q[0]

    def spoken(self, m, s, q):
        return s[0] * 0 + 1 if self.always else super().spoken(m, s, q)
