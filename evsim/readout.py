"""Readouts: what turns the top layer's events into outputs."""

from dataclasses import dataclass

import numpy as np

from evsim.check import check_count
from evsim.drive import drive, speakers
from evsim.jit import jit
from evsim.layer import Layer
from evsim.opcount import FORWARD, ONES_FORWARD, STEPS


@jit
def read_out(lo, hi, start, steps, first, n, weight_at, packed, theta, y, out, active, count):
    """out[b, t] = weight @ y + bias at slots start + 1..start + steps, by events.

    first, n: the top layer's units; weight_at: where the readout's weights stand in theta, biases behind them, or -1 if
    the top layer is itself the readout, whose y is the output. packed: whether the weights stand there unit by unit.
    active: scratch (n,).
    """
    n_out = out.shape[2]
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            said, to = y[b, t, first : first + n], out[b, t]
            if weight_at < 0:
                for o in range(n_out):
                    to[o] = said[o]
                continue
            bias = theta[weight_at + n_out * n :]
            for o in range(n_out):
                to[o] = bias[o]
            found, ones = speakers(said, active), 0
            for k in range(found):
                i = np.int64(active[k])
                v = said[i]
                ones += v == 1
                if packed:
                    weight = theta[weight_at + i * n_out : weight_at + (i + 1) * n_out]
                    for o in range(n_out):
                        to[o] += weight[o] * v
                else:
                    for o in range(n_out):
                        to[o] += theta[weight_at + o * n + i] * v
            count[FORWARD] += found * n_out
            count[ONES_FORWARD] += ones * n_out


@jit
def _run_leaky(
    lo, hi, start, steps, learn, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at,
    local_at, in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, gap, gap_s,
    gap_q, a, active, count,
):  # fmt: skip
    """Slots start + 1..start + steps of streams lo..hi-1; arguments as in evsim.forward.

    No recurrence, no events: D stays 0.
    """
    n = bias_at.shape[0]
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            for i in range(n):
                a[0, i] = theta[bias_at[i]]
            heard = x[b, t, x_first : x_first + in_ptr.shape[0] - 1]
            done, ones = drive(a, in_channels, heard, in_ptr, in_target, in_at, theta, active)
            count[FORWARD] += done
            count[ONES_FORWARD] += ones
            count[STEPS] += 1
            for i in range(n):
                u = first + i
                kappa, old = theta[local_at[i, 0]], y[b, t - 1, u]
                y[b, t, u] = kappa * old + a[0, i]
                if learn < 2:
                    continue
                A[b, t, u, 0, 0] = kappa
                B[b, t, u, 0, 0] = 1.0
                C[b, t, u, 0, 0] = old
                phi[b, t, u, 0] = 1.0


@dataclass(frozen=True)
class Readout:
    """out_t = weight @ y_t + bias, at every step. units: number of outputs."""

    units: int

    kind = "linear"

    def __post_init__(self):
        object.__setattr__(self, "units", check_count("units", self.units))

    def config(self):
        """The specification as plain numbers and strings."""
        return {"kind": self.kind, "units": self.units}


@dataclass(frozen=True, eq=False)
class LeakyReadout(Layer):
    """out_t = kappa * out_{t-1} + weight @ y_t + bias, at every step, from out = 0.

    units: number of outputs. kappa: decay in one step, number or (units,), at least 0 and below 1. learn_kappa: train
    it. Outputs remember, so each has a row in the influence matrix, over the columns of all layers and its own: exact,
    at that price.
    """

    kappa: float | np.ndarray = 0.9
    learn_kappa: bool = False

    kind = "leaky"
    channels = ("out",)
    in_channels = (0,)
    rec_channels = ()
    states = ("out",)
    kept = ("out",)
    local = ("kappa",)
    about = {"kappa": "decay of out in one step, a factor"}
    decays = {"kappa": ""}
    stored = 0
    kernel = staticmethod(_run_leaky)
    source = "a first-order low-pass filter, as the readouts of Bellec et al. (2020)"

    def advance(self, m, w, a, q):
        return (q[0] * w[0] + a[0],)

    def emit(self, m, s, q):
        return s[0]

    def keep(self, m, s, q):
        return (s[0],)


READOUTS = {kind.kind: kind for kind in (Readout, LeakyReadout)}
