"""Losses on the readout, summed over kept steps and over streams, and what they send down."""

import math

from evsim.jit import jit
from evsim.opcount import GRADIENT, GRADIENTS, ONES_GRADIENT, SENT
from evsim.readout import read_out

KINDS = {"cross_entropy": 0, "binary_cross_entropy": 1, "mse": 2}


@jit
def _error(kind, out, label, value, d_out):
    """Loss of one output vector; its derivative goes to d_out. label: class; value (n_out,): targets."""
    n = out.shape[0]
    loss = 0.0
    if kind == 0:
        top = out[0]
        for o in range(1, n):
            top = max(top, out[o])
        total = 0.0
        for o in range(n):
            total += math.exp(out[o] - top)
        for o in range(n):
            d_out[o] = math.exp(out[o] - top) / total
        d_out[label] -= 1.0
        return math.log(total) - (out[label] - top)
    for o in range(n):
        v = out[o]
        if kind == 1:
            s = math.exp(-abs(v))
            loss += max(v, 0.0) - v * value[o] + math.log1p(s)
            p = 1.0 / (1.0 + s) if v >= 0 else s / (1.0 + s)
            d_out[o] = (p - value[o]) / n
        else:
            loss += (v - value[o]) * (v - value[o])
            d_out[o] = 2.0 * (v - value[o]) / n
    return loss / n


@jit
def send_down(b, t, d_out, first, n, weight_at, back, y, phi, delta, gradient, count):
    """From d loss / d out: the readout's gradient, and d loss / d y of the units that can move; both are added.

    first, n, weight_at as in `evsim.readout.read_out`; if the top layer is the readout, delta[b, t] gets d_out. back:
    like theta, the weights that carry the error down.
    """
    n_out = d_out.shape[0]
    if weight_at < 0:
        for o in range(n_out):
            delta[b, t, o] += d_out[o]
        return
    speaking, ones, moving = 0, 0, 0
    for i in range(n):
        v = y[b, t, first + i]
        if v != 0:
            for o in range(n_out):
                gradient[b, weight_at + o * n + i] += d_out[o] * v
            speaking += 1
            ones += v == 1
        moves = False
        for k in range(phi.shape[3]):
            moves = moves or phi[b, t, first + i, k] != 0
        if moves:
            total = 0.0 * d_out[0]
            for o in range(n_out):
                total += back[weight_at + o * n + i] * d_out[o]
            moving += 1
            delta[b, t, i] += total
    count[GRADIENT] += (speaking + moving) * n_out
    count[ONES_GRADIENT] += ones * n_out
    count[GRADIENTS] += speaking * n_out
    count[SENT] += moving * n_out
    for o in range(n_out):
        gradient[b, weight_at + n_out * n + o] += d_out[o]


@jit
def send_all(
    lo, hi, start, steps, d_out, first, n, weight_at, theta, segment, y, phi, delta, gradient, count
):  # fmt: skip
    """send_down of d_out[b, t - start - 1] (n_out,) for slots t, start + 1..start + steps, with their own weights."""
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            for i in range(delta.shape[2]):
                delta[b, t, i] = 0
            send_down(
                b, t, d_out[b, t - start - 1], first, n, weight_at, theta[segment[b, t]], y, phi, delta, gradient, count
            )


@jit
def tell(
    lo, hi, start, steps, kind, labels, values, told, first, n, weight_at, theta, back, y, phi, out, delta, gradient,
    d_out, active, loss, count,
):  # fmt: skip
    """Outputs of slots start + 1..start + steps, and losses where told: to class labels[b, t] or to values[b, t]."""
    read_out(lo, hi, start, steps, first, n, weight_at, False, theta, y, out, active, count)
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            if told[b, t]:
                loss[b] += _error(kind, out[b, t], labels[b, t], values[b, t], d_out)
                for i in range(delta.shape[2]):
                    delta[b, t, i] = 0
                send_down(b, t, d_out, first, n, weight_at, back, y, phi, delta, gradient, count)
