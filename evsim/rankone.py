"""One outer product in place of the influence matrix: M ~ s theta', unbiased (Tallec and Ollivier 2018).

s holds a number for each state, theta' (here `share`) one for each column of M. A step makes M <- J M + I of it, with
random signs nu over the states, whose nu nu' is the identity on average:

    s <- a J s + b nu      share <- share / a + nu' I / b      a = sqrt(|share| / |J s|)      b = sqrt(|nu' I| / |nu|)

J s is the Step's forward tangent, nu' I one backward sweep over that step alone. Turning all signs over changes neither
a nor b, so the cross terms vanish on average, and a and b only keep the noise small. An outer product one of whose
factors is zero is dropped altogether, which changes nothing and leaves no norm of zero to divide by.
"""

from math import sqrt

import numpy as np

from evsim.drive import drive
from evsim.jit import jit
from evsim.opcount import (
    BACK,
    GRADIENT,
    GRADIENTS,
    IMMEDIATE,
    LEAK,
    ONES_INFLUENCE,
    PROPAGATE,
    READ,
    WEIGHTS,
    WORDS_READ,
    WORDS_WRITTEN,
)
from evsim.sweep import go_back


@jit
def sign(words, b, t, i):
    """The sign that bit i of words[b, t] stands for."""
    return 1 if (words[b, t, i >> 6] >> np.uint64(i & 63)) & np.uint64(1) else -1


@jit
def norm_of(values, b, n):
    """Euclidean norm of values[b, :n], in double precision; four sums side by side, for none to wait for another."""
    p, q, r, s = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for j in range(0, whole, 4):
        p += float(values[b, j]) ** 2
        q += float(values[b, j + 1]) ** 2
        r += float(values[b, j + 2]) ** 2
        s += float(values[b, j + 3]) ** 2
    for j in range(whole, n):
        p += float(values[b, j]) ** 2
    return sqrt((p + q) + (r + s))


@jit
def shown(b, t, first, end, states, phi, s, moved):
    """moved[u] = phi . s, by how much the event of each unit first..end-1 at slot t moves with s."""
    for u in range(first, end):
        total = 0 * s[b, u, 0]
        for k in range(states):
            total += phi[b, t, u, k] * s[b, u, k]
        moved[u] = total


@jit
def push(
    b, t, layers, in_fed, rec_fed, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, theta, A, B, phi, s,
    moved, pre, mixed, active, count,
):  # fmt: skip
    """s[b] <- J s[b] over slot t, layers bottom-up, by sources whose events move. Scratch: moved, pre, mixed,
    active."""
    levels, units = layers.shape[0], s.shape[1]
    for level in range(levels):
        states, first, fed_in, fed_rec = layers[level, 0], layers[level, 1], layers[level, 3], layers[level, 4]
        channels = layers[level, 5]
        end = layers[level + 1, 1] if level + 1 < levels else units
        pre[first:end, :channels] = 0
        done, ones = 0, 0
        if level > 0:
            below = layers[level - 1, 1]
            shown(b, t, below, first, layers[level - 1, 0], phi, s, moved)
            done, ones = drive(
                pre.T, in_fed[level, :fed_in], moved[below:first], in_ptr[n_in + below : n_in + first + 1], in_target,
                in_at, theta, active,
            )  # fmt: skip
        if fed_rec > 0:
            shown(b, t - 1, first, end, states, phi, s, moved)
            more, more_ones = drive(
                pre.T, rec_fed[level, :fed_rec], moved[first:end], rec_ptr[first : end + 1], rec_target, rec_at, theta,
                active,
            )
            done, ones = done + more, ones + more_ones
        for u in range(first, end):
            for k in range(states):
                total = 0 * s[b, u, 0]
                for c in range(states):
                    total += A[b, t, u, k, c] * s[b, u, c]
                for g in range(channels):
                    total += B[b, t, u, k, g] * pre[u, g]
                mixed[k] = total
            for k in range(states):
                s[b, u, k] = mixed[k]
        count[level, PROPAGATE] += done
        count[level, ONES_INFLUENCE] += ones
        count[level, WEIGHTS] += done
        count[level, LEAK] += (end - first) * states * states
        count[level, BACK] += (end - first) * states


@jit
def draw_signs(words, b, t, layers, lam):
    """lam[b] <- the signs of all states; returns how many states there are."""
    levels, i = layers.shape[0], 0
    for level in range(levels):
        end = layers[level + 1, 1] if level + 1 < levels else lam.shape[1]
        for u in range(layers[level, 1], end):
            for k in range(layers[level, 0]):
                lam[b, u, k] = sign(words, b, t, i)
                i += 1
    return i


@jit
def blend(words, b, t, layers, s, keep, new):
    """s[b] <- keep s[b] + new nu."""
    levels, i = layers.shape[0], 0
    for level in range(levels):
        end = layers[level + 1, 1] if level + 1 < levels else s.shape[1]
        for u in range(layers[level, 1], end):
            for k in range(layers[level, 0]):
                s[b, u, k] = keep * s[b, u, k] + new * sign(words, b, t, i)
                i += 1


@jit
def balance(one, other):
    """sqrt(one / other) and its inverse; both 0 where the product of what has these norms is 0."""
    if one > 0 and other > 0:
        return sqrt(one / other), sqrt(other / one)
    return 0.0, 0.0


@jit
def size_of(s, b):
    """Euclidean norm of s[b]."""
    total = 0.0
    for u in range(s.shape[1]):
        for k in range(s.shape[2]):
            total += float(s[b, u, k]) ** 2
    return sqrt(total)


@jit
def read(b, t, layers, local_q, local_at, phi, D, delta, s, share, gradient, count):
    """Add to gradient[b] that of a loss told at slot t, whose derivative to the top layer's events is delta[b, t]."""
    top, columns = layers.shape[0] - 1, share.shape[1]
    first, states, trained = layers[top, 1], layers[top, 0], layers[top, 6]
    along = 0 * s[b, 0, 0]
    for u in range(first, s.shape[1]):
        error = delta[b, t, u - first]
        if error != 0:
            for k in range(states):
                along += error * phi[b, t, u, k] * s[b, u, k]
            for q in range(trained):
                gradient[b, local_at[u, local_q[top, q]]] += error * D[b, t, u, local_q[top, q]]
    if along != 0:
        for j in range(columns):
            gradient[b, j] += along * share[b, j]
        count[top, GRADIENT] += columns
        count[top, READ] += columns
        count[top, GRADIENTS] += columns


@jit
def read_force(b, t, layers, local_q, local_at, pressed, force, force_q, s, share, gradient, count):
    """Add to gradient[b] that of the prices at slot t (`evsim.pressure`)."""
    if not pressed[b, t]:
        return
    levels, columns, along = layers.shape[0], share.shape[1], 0 * s[b, 0, 0]
    for level in range(levels):
        end = layers[level + 1, 1] if level + 1 < levels else s.shape[1]
        for u in range(layers[level, 1], end):
            for k in range(layers[level, 0]):
                along += force[b, t, u, k] * s[b, u, k]
            for q in range(layers[level, 6]):
                gradient[b, local_at[u, local_q[level, q]]] += force_q[b, t, u, local_q[level, q]]
    if along != 0:
        for j in range(columns):
            gradient[b, j] += along * share[b, j]
        count[levels - 1, GRADIENT] += columns
        count[levels - 1, READ] += columns
        count[levels - 1, GRADIENTS] += columns


@jit
def read_all(lo, hi, t, layers, local_q, local_at, phi, D, delta, s, share, gradient, count):
    """`read` for streams lo..hi-1."""
    for b in range(lo, hi):
        read(b, t, layers, local_q, local_at, phi, D, delta, s, share, gradient, count)


@jit
def follow(
    lo, hi, start, steps, layers, in_fed, rec_fed, local_q, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target,
    rec_at, bias_at, local_at, theta, segment, x, y, A, B, C, phi, D, told, untold, delta, pressed, force, force_q,
    gradient, words, s, share, own, lam, moved, pre, mixed, active, count,
):  # fmt: skip
    """Carry s and share of streams lo..hi-1 through slots start + 1..start + steps; add the gradient of what is told.

    theta, segment, told, delta, gradient as in `evsim.sweep.go_back`; untold: told, but nowhere. pressed, force,
    force_q: `evsim.pressure`. words[b, t]: random bits for slot t. own[b] is all zero before and after. The rest is
    scratch of one thread.
    """
    top, columns = layers.shape[0] - 1, share.shape[1]
    number = share.dtype.type
    for b in range(lo, hi):
        for t in range(start + 1, start + steps + 1):
            push(
                b, t, layers, in_fed, rec_fed, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, theta[0],
                A, B, phi, s, moved, pre, mixed, active, count,
            )  # fmt: skip
            states = draw_signs(words, b, t, layers, lam)
            go_back(
                b, b + 1, t - 1, 1, layers, in_fed, rec_fed, local_q, n_in, in_ptr, in_target, in_at, rec_ptr,
                rec_target, rec_at, bias_at, local_at, theta, segment, x, y, A, B, C, phi, D, untold, delta, untold,
                force, force_q, own, lam, moved, pre, mixed, count,
            )  # fmt: skip
            keep, fade = balance(norm_of(share, b, columns), size_of(s, b))
            new, add = balance(norm_of(own, b, columns), sqrt(float(states)))
            blend(words, b, t, layers, s, number(keep), number(new))
            less, more = number(fade), number(add)
            for j in range(columns):
                share[b, j] = less * share[b, j] + more * own[b, j]
                own[b, j] = 0
            count[top, LEAK] += columns
            count[top, IMMEDIATE] += columns
            count[top, WORDS_READ] += 2 * columns
            count[top, WORDS_WRITTEN] += 2 * columns
            read_force(b, t, layers, local_q, local_at, pressed, force, force_q, s, share, gradient, count)
            if told[b, t]:
                read(b, t, layers, local_q, local_at, phi, D, delta, s, share, gradient, count)
