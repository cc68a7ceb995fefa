"""ALIF: a leaky integrate-and-fire unit whose threshold rises with each of its events."""

from dataclasses import dataclass

import numpy as np

from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.spiking import SpikingCell, reset
from evsim.surrogate import psi


@jit
def _run_alif(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward.

    stored: v, A, o, and o's derivatives to v, A, threshold, adaptation.
    """
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
                threshold, beta = theta[local_at[i, 0]], theta[local_at[i, 1]]
                rho, adaptation = theta[local_at[i, 2]], theta[local_at[i, 3]]
                old, was, o_v = kept[i, 1], kept[i, 2], kept[i, 3]
                left, by_v, by_o = reset(zero, detach, kept[i, 0], was, o_v, threshold)
                v = beta * left + a[0, i]
                rise = rho * old + was
                above = v - threshold - adaptation * rise
                o = 1.0 if above > 0 else 0.0
                shown[i] = o
                kept[i, 0] = v
                kept[i, 1] = rise
                kept[i, 2] = o
                events += o != 0
                if learn == 0:
                    continue
                h = psi(kind, above, height, half_width, slope)
                moving += h != 0
                if learn == 1:
                    continue
                u = first + i
                o_rise, o_threshold, o_adaptation = kept[i, 4], kept[i, 5], kept[i, 6]
                A[b, t, u, 0, 0] = beta * by_v
                A[b, t, u, 0, 1] = beta * by_o * o_rise
                A[b, t, u, 1, 0] = o_v
                A[b, t, u, 1, 1] = rho + o_rise
                B[b, t, u, 0, 0] = 1.0
                C[b, t, u, 0, 0] = beta * ((0.0 if zero != 0 else -was) + by_o * o_threshold)
                C[b, t, u, 1, 0] = o_threshold
                C[b, t, u, 0, 1] = left
                C[b, t, u, 1, 2] = old
                C[b, t, u, 0, 3] = beta * by_o * o_adaptation
                C[b, t, u, 1, 3] = o_adaptation
                phi[b, t, u, 0] = h
                phi[b, t, u, 1] = -adaptation * h
                D[b, t, u, 0] = -h
                D[b, t, u, 3] = -rise * h
                kept[i, 3] = h
                kept[i, 4] = -adaptation * h
                kept[i, 5] = -h
                kept[i, 6] = -rise * h
                if learn == 3:
                    gap[b, t, u, 0] = above
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 0] = 1.0
                    gap_s[b, t, u, 1] = -adaptation
                    gap_q[b, t, u, 0] = -1.0
                    gap_q[b, t, u, 3] = -rise
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class ALIF(SpikingCell):
    """Adaptive leaky integrate-and-fire unit: A_t = rho * A_{t-1} + o_{t-1}, v_t = beta * R(v_{t-1}) + a_t,
    o = H(v - threshold - adaptation * A_t), y = o.

    R takes the base threshold * o_{t-1} off v_{t-1}, or with reset="zero" multiplies it by 1 - o_{t-1}; detach_reset
    leaves the event's derivative in A. tau_adapt: time constant of A in seconds, number or (n,), rho = exp(-dt /
    tau_adapt); or rho itself. adaptation: rise of the threshold per event, in the unit of v. learn_rho,
    learn_adaptation: train them. The rest: `evsim.spiking.SpikingCell`.
    """

    tau_adapt: float | np.ndarray = 0.2
    rho: float | np.ndarray | None = None
    adaptation: float | np.ndarray = 0.2
    learn_rho: bool = False
    learn_adaptation: bool = False

    kind = "alif"
    channels = ("v",)
    states = ("v", "A")
    kept = ("v", "A", "o")
    local = ("threshold", "beta", "rho", "adaptation")
    decays = {**SpikingCell.decays, "rho": "tau_adapt"}
    about = {
        **SpikingCell.about,
        "rho": "decay of A in one step, a factor; exp(-dt/tau_adapt), tau_adapt in s",
        "adaptation": "rise of the threshold for each event in A, in the unit of v",
    }
    stored = 7
    kernel = staticmethod(_run_alif)
    source = "Bellec et al.: Long short-term memory and learning-to-learn in networks of spiking neurons (2018)"

    def advance(self, m, w, a, q):
        return q[1] * self.after_reset(m, w[0], w[2], q[0]) + a[0], q[2] * w[1] + w[2]

    def above(self, s, q):
        return s[0] - q[0] - q[3] * s[1]

    def emit(self, m, s, q):
        return self.spoken(m, s, q)

    def keep(self, m, s, q):
        return s[0], s[1], self.spoken(m, s, q)
