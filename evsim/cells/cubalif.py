"""CubaLIF: a leaky integrate-and-fire unit whose input passes through a synaptic current."""

from dataclasses import dataclass

import numpy as np

from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.spiking import SpikingCell, reset
from evsim.surrogate import psi


@jit
def _run_cubalif(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward. stored: i, v, o, d o/d v."""
    n = bias_at.shape[0]
    kind, height, half_width, slope, detach, zero = settings
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
                threshold, beta, alpha = theta[local_at[i, 0]], theta[local_at[i, 1]], theta[local_at[i, 2]]
                old, was, old_h = kept[i, 0], kept[i, 2], kept[i, 3]
                left, by_v, by_o = reset(zero, detach, kept[i, 1], was, old_h, threshold)
                current = alpha * old + a[0, i]
                v = beta * left + current
                o = 1.0 if v > threshold else 0.0
                shown[i] = o
                kept[i, 0] = current
                kept[i, 1] = v
                kept[i, 2] = o
                events += o != 0
                if learn == 0:
                    continue
                h = psi(kind, v - threshold, height, half_width, slope)
                moving += h != 0
                if learn == 1:
                    continue
                u = first + i
                A[b, t, u, 0, 0] = alpha
                A[b, t, u, 1, 0] = alpha
                A[b, t, u, 1, 1] = beta * by_v
                B[b, t, u, 0, 0] = 1.0
                B[b, t, u, 1, 0] = 1.0
                C[b, t, u, 1, 0] = beta * ((0.0 if zero != 0 else -was) - by_o * old_h)
                C[b, t, u, 1, 1] = left
                C[b, t, u, 0, 2] = old
                C[b, t, u, 1, 2] = old
                phi[b, t, u, 1] = h
                D[b, t, u, 0] = -h
                kept[i, 3] = h
                if learn == 3:
                    gap[b, t, u, 0] = v - threshold
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 1] = 1.0
                    gap_q[b, t, u, 0] = -1.0
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class CubaLIF(SpikingCell):
    """Current-based leaky integrate-and-fire unit: i_t = alpha * i_{t-1} + a_t, v_t = beta * R(v_{t-1}) + i_t,
    o = H(v - threshold), y = o.

    R takes threshold * o_{t-1} off v_{t-1}, or with reset="zero" multiplies it by 1 - o_{t-1}. tau_syn: synaptic time
    constant in seconds, number or (n,), alpha = exp(-dt / tau_syn); or alpha itself. learn_alpha: train it. The rest:
    `evsim.spiking.SpikingCell`.
    """

    tau_syn: float | np.ndarray = 0.01
    alpha: float | np.ndarray | None = None
    learn_alpha: bool = False

    kind = "cubalif"
    channels = ("i",)
    states = ("i", "v")
    kept = ("i", "v", "o")
    local = ("threshold", "beta", "alpha")
    decays = {**SpikingCell.decays, "alpha": "tau_syn"}
    about = {**SpikingCell.about, "alpha": "decay of i in one step, a factor; exp(-dt/tau_syn), tau_syn in s"}
    stored = 4
    kernel = staticmethod(_run_cubalif)
    source = "Gerstner and Kistler: Spiking Neuron Models (2002), in the discrete form of NIR's CubaLIF"

    def advance(self, m, w, a, q):
        current = q[2] * w[0] + a[0]
        return current, q[1] * self.after_reset(m, w[1], w[2], q[0]) + current

    def above(self, s, q):
        return s[1] - q[0]

    def emit(self, m, s, q):
        return self.spoken(m, s, q)

    def keep(self, m, s, q):
        return s[0], s[1], self.spoken(m, s, q)
