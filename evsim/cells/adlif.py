"""AdLIF: an adaptive unit that can oscillate: a leaky membrane coupled to a slow current that opposes it."""

from dataclasses import dataclass

import numpy as np

from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.spiking import SpikingCell, reset
from evsim.surrogate import psi


@jit
def _run_adlif(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward. stored: v, A, o, d o/d v."""
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
                threshold, beta, rho = theta[local_at[i, 0]], theta[local_at[i, 1]], theta[local_at[i, 2]]
                coupling, adaptation = theta[local_at[i, 3]], theta[local_at[i, 4]]
                old, was, old_h = kept[i, 1], kept[i, 2], kept[i, 3]
                left, by_v, by_o = reset(zero, detach, kept[i, 0], was, old_h, threshold)
                fed = coupling * left + adaptation * was
                slow = rho * old + (1.0 - rho) * fed
                v = beta * left + (1.0 - beta) * (a[0, i] - slow)
                o = 1.0 if v > threshold else 0.0
                shown[i] = o
                kept[i, 0] = v
                kept[i, 1] = slow
                kept[i, 2] = o
                events += o != 0
                if learn == 0:
                    continue
                h = psi(kind, v - threshold, height, half_width, slope)
                moving += h != 0
                if learn == 1:
                    continue
                u = first + i
                by_threshold = (0.0 if zero != 0 else -was) - by_o * old_h
                A[b, t, u, 1, 0] = (1.0 - rho) * (coupling * by_v + adaptation * old_h)
                A[b, t, u, 1, 1] = rho
                A[b, t, u, 0, 0] = beta * by_v - (1.0 - beta) * A[b, t, u, 1, 0]
                A[b, t, u, 0, 1] = -(1.0 - beta) * rho
                B[b, t, u, 0, 0] = 1.0 - beta
                C[b, t, u, 1, 0] = (1.0 - rho) * (coupling * by_threshold - adaptation * old_h)
                C[b, t, u, 1, 2] = old - fed
                C[b, t, u, 1, 3] = (1.0 - rho) * left
                C[b, t, u, 1, 4] = (1.0 - rho) * was
                for q in range(5):
                    C[b, t, u, 0, q] = -(1.0 - beta) * C[b, t, u, 1, q]
                C[b, t, u, 0, 0] += beta * by_threshold
                C[b, t, u, 0, 1] = left - (a[0, i] - slow)
                phi[b, t, u, 0] = h
                D[b, t, u, 0] = -h
                kept[i, 3] = h
                if learn == 3:
                    gap[b, t, u, 0] = v - threshold
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 0] = 1.0
                    gap_q[b, t, u, 0] = -1.0
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class AdLIF(SpikingCell):
    """Adaptive leaky integrate-and-fire unit with symplectic Euler steps (SE-adLIF): with r = R(v_{t-1}),
    A_t = rho * A_{t-1} + (1 - rho) * (coupling * r + adaptation * o_{t-1}),
    v_t = beta * r + (1 - beta) * (a_t - A_t), o = H(v - threshold), y = o.

    R takes threshold * o_{t-1} off v_{t-1}, or with reset="zero" (as published) multiplies it by 1 - o_{t-1}.
    tau_adapt: time constant of A in seconds, number or (n,), rho = exp(-dt / tau_adapt); or rho itself. coupling,
    adaptation: what the membrane and an event feed into A. learn_rho, learn_coupling, learn_adaptation: train them.
    """

    half_width: float = 0.1
    threshold: float | np.ndarray = 0.1  # low, for inputs are scaled by 1 - beta
    tau_adapt: float | np.ndarray = 0.2
    rho: float | np.ndarray | None = None
    coupling: float | np.ndarray = 0.5
    adaptation: float | np.ndarray = 1.0
    learn_rho: bool = False
    learn_coupling: bool = False
    learn_adaptation: bool = False

    kind = "adlif"
    channels = ("v",)
    states = ("v", "A")
    kept = ("v", "A", "o")
    local = ("threshold", "beta", "rho", "coupling", "adaptation")
    decays = {**SpikingCell.decays, "rho": "tau_adapt"}
    about = {
        **SpikingCell.about,
        "rho": "decay of A in one step, a factor; exp(-dt/tau_adapt), tau_adapt in s",
        "coupling": "what v feeds into A, a factor",
        "adaptation": "what an event feeds into A, in the unit of v",
    }
    stored = 4
    kernel = staticmethod(_run_adlif)
    source = "Baronig et al.: Advancing spatio-temporal processing in spiking networks through adaptation (2024)"

    def advance(self, m, w, a, q):
        left = self.after_reset(m, w[0], w[2], q[0])
        slow = q[2] * w[1] + (1.0 - q[2]) * (q[3] * left + q[4] * w[2])
        return q[1] * left + (1.0 - q[1]) * (a[0] - slow), slow

    def above(self, s, q):
        return s[0] - q[0]

    def emit(self, m, s, q):
        return self.spoken(m, s, q)

    def keep(self, m, s, q):
        return s[0], s[1], self.spoken(m, s, q)
