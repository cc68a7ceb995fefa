"""Readout: the linear layer that turns the top layer's events into outputs."""

from dataclasses import dataclass

from evsim.check import check_count
from evsim.jit import jit
from evsim.opcount import FORWARD


@jit
def read_out(lo, hi, steps, first, n, weight_at, theta, y, out, count):
    """out[b, t] = weight @ y + bias at slots 1..steps, by events."""
    n_out = out.shape[2]
    for b in range(lo, hi):
        for t in range(1, steps + 1):
            for o in range(n_out):
                out[b, t, o] = theta[weight_at + n_out * n + o]
            for i in range(n):
                v = y[b, t, first + i]
                if v != 0:
                    for o in range(n_out):
                        out[b, t, o] += theta[weight_at + o * n + i] * v
                    count[FORWARD] += n_out


@dataclass(frozen=True)
class Readout:
    """out_t = weight @ y_t + bias, at every step. units: number of outputs."""

    units: int

    def __post_init__(self):
        object.__setattr__(self, "units", check_count("units", self.units))

    def config(self):
        """The specification as plain numbers and strings."""
        return {"kind": "linear", "units": self.units}
