"""Pre-activations by events: only sources that are not zero are visited, each through its own targets."""

import numpy as np

from evsim.jit import jit
from evsim.opcount import FORWARD, ONES_FORWARD


@jit
def speakers(z, active):
    """List the j with z[j] != 0 in `active`; returns how many. Without a branch: which they are, nobody can predict."""
    found = 0
    for j in range(z.shape[0]):
        active[found] = j
        found += z[j] != 0
    return found


@jit
def drive(a, channels, z, ptr, target, at, theta, active):
    """Add W @ z to the pre-activations a (G, n); returns the multiply-adds done, and those of them with z = 1.

    Source j reaches the units target[ptr[j]:ptr[j + 1]]; the weights of edge e, one per fed channel, stand in theta
    from at[e] on; or, if `at` has a single entry, those of all edges for the first channel from at[0] on, then the
    next's. active: scratch, as long as z.
    """
    done, ones = 0, 0
    width, edges = channels.shape[0], target.shape[0]
    packed = at.shape[0] == 1
    for k in range(speakers(z, active)):
        j = active[k]
        v, begin, end = z[j], ptr[j], ptr[j + 1]
        for g in range(width):
            to = a[channels[g]]
            if packed:
                weight = theta[at[0] + g * edges :]
                for e in range(begin, end):
                    to[target[e]] += weight[e] * v
            else:
                weight = theta[g:]
                for e in range(begin, end):
                    to[target[e]] += weight[at[e]] * v
        work = width * (np.int64(end) - np.int64(begin))
        done += work
        if v == 1:
            ones += work
    return done, ones


@jit
def listen(
    b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels, rec_channels,
    theta, y, a, active, count,
):  # fmt: skip
    """Pre-activations a (G, n) of one layer at slot t: biases, inputs and recurrence; counts the multiply-adds done.

    Arguments as in `evsim.forward`; the biases of unit i stand in theta from bias_at[i] on, one per channel.
    """
    channels, n = a.shape
    for g in range(channels):
        to, bias = a[g], theta[g:]
        for i in range(n):
            to[i] = bias[bias_at[i]]
    heard = x[b, t, x_first : x_first + in_ptr.shape[0] - 1]
    done, ones = drive(a, in_channels, heard, in_ptr, in_target, in_at, theta, active)
    own = y[b, t - 1, first : first + n]
    more, more_ones = drive(a, rec_channels, own, rec_ptr, rec_target, rec_at, theta, active)
    count[FORWARD] += done + more
    count[ONES_FORWARD] += ones + more_ones


@jit
def carry_over(lo, hi, last, y, phi, D):
    """Move what the units of streams lo..hi-1 showed in slot `last` to slot 0."""
    for b in range(lo, hi):
        for u in range(y.shape[2]):
            y[b, 0, u] = y[b, last, u]
            for k in range(phi.shape[3]):
                phi[b, 0, u, k] = phi[b, last, u, k]
            for q in range(D.shape[3]):
                D[b, 0, u, q] = D[b, last, u, q]
