"""LIF: a leaky integrate-and-fire unit."""

from dataclasses import dataclass

from evsim.drive import listen
from evsim.jit import jit
from evsim.opcount import EVENTS, PHI, STEPS
from evsim.spiking import SpikingCell, reset
from evsim.surrogate import psi


@jit
def _run_lif(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward. stored: v, o, d o/d v."""
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
                was, old_h = kept[i, 1], kept[i, 2]
                left, by_v, by_o = reset(zero, detach, kept[i, 0], was, old_h, threshold)
                v = beta * left + a[0, i]
                o = 1.0 if v > threshold else 0.0
                shown[i] = o
                kept[i, 0] = v
                kept[i, 1] = o
                events += o != 0
                if learn == 0:
                    continue
                h = psi(kind, v - threshold, height, half_width, slope)
                moving += h != 0
                if learn == 1:
                    continue
                u = first + i
                A[b, t, u, 0, 0] = beta * by_v
                B[b, t, u, 0, 0] = 1.0
                C[b, t, u, 0, 0] = beta * ((0.0 if zero != 0 else -was) - by_o * old_h)
                C[b, t, u, 0, 1] = left
                phi[b, t, u, 0] = h
                D[b, t, u, 0] = -h
                kept[i, 2] = h
                if learn == 3:
                    gap[b, t, u, 0] = v - threshold
                    gap[b, t, u, 1] = h
                    gap_s[b, t, u, 0] = 1.0
                    gap_q[b, t, u, 0] = -1.0
            count[EVENTS] += events
            count[PHI] += moving


@dataclass(frozen=True, eq=False)
class LIF(SpikingCell):
    """Leaky integrate-and-fire unit: v_t = beta * R(v_{t-1}) + a_t, o = H(v - threshold), y = o.

    R takes threshold * o_{t-1} off v_{t-1}, or with reset="zero" multiplies it by 1 - o_{t-1}. Decays, thresholds and
    what can be learned: `evsim.spiking.SpikingCell`.
    """

    kind = "lif"
    channels = ("v",)
    states = ("v",)
    kept = ("v", "o")
    local = ("threshold", "beta")
    stored = 3
    kernel = staticmethod(_run_lif)
    source = "Eshraghian et al.: Training spiking neural networks using lessons from deep learning (2023)"

    def advance(self, m, w, a, q):
        return (q[1] * self.after_reset(m, w[0], w[1], q[0]) + a[0],)

    def above(self, s, q):
        return s[0] - q[0]

    def emit(self, m, s, q):
        return self.spoken(m, s, q)

    def keep(self, m, s, q):
        return s[0], self.spoken(m, s, q)
