"""AdLIF: an adaptive unit that can oscillate: a leaky membrane coupled to a slow current that opposes it."""

from dataclasses import dataclass

import numpy as np

from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, FORWARD, PHI, STEPS
from evsim.spiking import SpikingCell, reset
from evsim.surrogate import psi


@jit
def _run_adlif(
    lo, hi, start, steps, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, local_at,
    in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, a, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward. stored: v, A, o, d o/d v."""
    n = bias_at.shape[0]
    kind, height, half_width, slope, detach, zero = settings
    kind = int(kind)
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            count[FORWARD] += listen(
                b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels,
                rec_channels, theta, y, a,
            )  # fmt: skip
            count[STEPS] += 1
            for i in range(n):
                u = first + i
                threshold, beta, rho = theta[local_at[i, 0]], theta[local_at[i, 1]], theta[local_at[i, 2]]
                coupling, adaptation = theta[local_at[i, 3]], theta[local_at[i, 4]]
                old, o, h = stored[b, u, 1], stored[b, u, 2], stored[b, u, 3]
                left, by_v, by_o = reset(zero, detach, stored[b, u, 0], o, h, threshold)
                by_threshold = (0.0 if zero != 0 else -o) - by_o * h
                fed = coupling * left + adaptation * o
                slow = rho * old + (1.0 - rho) * fed
                A[b, t, u, 1, 0] = (1.0 - rho) * (coupling * by_v + adaptation * h)
                A[b, t, u, 1, 1] = rho
                C[b, t, u, 1, 0] = (1.0 - rho) * (coupling * by_threshold - adaptation * h)
                C[b, t, u, 1, 2] = old - fed
                C[b, t, u, 1, 3] = (1.0 - rho) * left
                C[b, t, u, 1, 4] = (1.0 - rho) * o
                v = beta * left + (1.0 - beta) * (a[i, 0] - slow)
                A[b, t, u, 0, 0] = beta * by_v - (1.0 - beta) * A[b, t, u, 1, 0]
                A[b, t, u, 0, 1] = -(1.0 - beta) * rho
                B[b, t, u, 0, 0] = 1.0 - beta
                for q in range(5):
                    C[b, t, u, 0, q] = -(1.0 - beta) * C[b, t, u, 1, q]
                C[b, t, u, 0, 0] += beta * by_threshold
                C[b, t, u, 0, 1] = left - (a[i, 0] - slow)
                h = psi(kind, v - threshold, height, half_width, slope)
                o = 1.0 if v > threshold else 0.0
                y[b, t, u] = o
                phi[b, t, u, 0] = h
                D[b, t, u, 0] = -h
                stored[b, u, 0] = v
                stored[b, u, 1] = slow
                stored[b, u, 2] = o
                stored[b, u, 3] = h
                if o != 0:
                    count[EVENTS] += 1
                if h != 0:
                    count[PHI] += 1


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

    def emit(self, m, s, q):
        return m.event(s[0] - q[0])

    def keep(self, m, s, q):
        return s[0], s[1], m.event(s[0] - q[0])
