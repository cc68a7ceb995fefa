"""The way back: one backward sweep over the Steps of a block, for the losses told in it or for any other row.

With lam = d target / d s and eta = d target / d y, layers top-down inside each step, for t from the last to the first,

    lam += eta phi        own[q, i] += eta_i D_iq
    slope = lam B         own[g, i, j] += slope_ig z_j       own[q, i] += sum_k lam_ik C_ikq
    eta of the layer below += W_in^T slope      eta of the step before = W_rec^T slope      lam <- lam A

and once more lam += eta phi, own += eta D with what the units showed before the block. Sources that were silent get no
weight gradient, units with phi = 0 get no eta, units with lam = 0 are passed over: both ways cost what was active.
Over a whole sequence that is backpropagation through time (Werbos 1990). What the first layer's slope sends on through
W_in^T is the derivative to the inputs.
"""

from evsim.jit import jit, jit_inline
from evsim.opcount import (
    BACK,
    GRADIENT,
    GRADIENTS,
    IMMEDIATE,
    LEAK,
    ONES_INFLUENCE,
    PROPAGATE,
    READ,
    STEP_READ,
    STEP_WRITTEN,
    SUMS,
    WEIGHTS,
)


@jit_inline
def add_weights(b, v, slope, fed, level, fed_width, e, end, target, at, gradient):
    """Add slope * v to the gradient of the weights of edges e..end-1."""
    to, only = gradient[b], fed[level, 0]
    if fed_width == 1:
        for edge in range(e, end):
            to[at[edge]] += slope[target[edge], only] * v
        return
    for edge in range(e, end):
        i, p = target[edge], at[edge]
        for g in range(fed_width):
            to[p + g] += slope[i, fed[level, g]] * v


@jit_inline
def pull(slope, fed, level, fed_width, e, end, target, at, theta, s):
    """W^T slope of one source, over its edges e..end-1, with the weights of segment s."""
    weight, only = theta[s], fed[level, 0]
    total = 0.0  # in double precision: targets may be many
    if fed_width == 1:
        for edge in range(e, end):
            total += weight[at[edge]] * slope[target[edge], only]
        return total
    for edge in range(e, end):
        i, p = target[edge], at[edge]
        for g in range(fed_width):
            total += weight[p + g] * slope[i, fed[level, g]]
    return total


@jit
def moves(phi, b, t, u, states):
    """Has the event of unit u any derivative at slot t; or, of another array shaped as phi, is anything not 0 there."""
    found = False
    for k in range(states):
        found = found or phi[b, t, u, k] != 0
    return found


@jit_inline
def receive(b, t, u, states, trained, local_q, level, local_at, eta, lam, phi, D, gradient):
    """lam += eta phi and own += eta D, of one unit."""
    for k in range(states):
        lam[b, u, k] += eta * phi[b, t, u, k]
    for q in range(trained):
        gradient[b, local_at[u, local_q[level, q]]] += eta * D[b, t, u, local_q[level, q]]


@jit_inline
def feel(b, t, u, states, trained, local_q, level, local_at, lam, force, force_q, gradient):
    """lam += force and own += force_q, of one unit (`evsim.pressure`)."""
    for k in range(states):
        lam[b, u, k] += force[b, t, u, k]
    for q in range(trained):
        gradient[b, local_at[u, local_q[level, q]]] += force_q[b, t, u, local_q[level, q]]


@jit
def go_back(
    lo, hi, start, steps, layers, in_fed, rec_fed, local_q, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at,
    bias_at, local_at, theta, segment, x, y, A, B, C, phi, D, told, delta, pressed,
    force, force_q, gradient, lam, eta, slope, mixed, count,
):  # fmt: skip
    """Sweep slots start + steps..start + 1 of streams lo..hi-1; adds to gradient[b].

    theta (segments, size): weights; segment[b, t]: which were in force. told[b, t], delta[b, t]: losses, pressed,
    force, force_q: prices, as in `evsim.influence.advance`. lam[b] (units, K): d target / d s after the block, replaced
    by that before it. The rest is scratch of one thread.
    """
    levels, units = layers.shape[0], bias_at.shape[0]
    for b in range(lo, hi):
        eta[:] = 0
        for t in range(start + steps, start, -1):
            s = segment[b, t]
            if told[b, t]:
                first = layers[levels - 1, 1]
                for u in range(first, units):
                    eta[u] += delta[b, t, u - first]
            for level in range(levels - 1, -1, -1):
                states, first, fed_in, fed_rec = layers[level, 0], layers[level, 1], layers[level, 3], layers[level, 4]
                channels, trained = layers[level, 5], layers[level, 6]
                end = layers[level + 1, 1] if level + 1 < levels else units
                propagate, immediate, ones, alive_units = 0, 0, 0, 0
                some = False
                for u in range(first, end):
                    if eta[u] != 0:
                        receive(b, t, u, states, trained, local_q, level, local_at, eta[u], lam, phi, D, gradient)
                        eta[u] = 0
                    if pressed[b, t]:
                        feel(b, t, u, states, trained, local_q, level, local_at, lam, force, force_q, gradient)
                    alive = False
                    for k in range(states):
                        alive = alive or lam[b, u, k] != 0
                    for g in range(channels):
                        slope[u, g] = 0
                    if not alive:
                        continue
                    some = True
                    alive_units += 1
                    if states == 1:
                        carried = lam[b, u, 0]
                        for g in range(channels):
                            v = carried * B[b, t, u, 0, g]
                            slope[u, g] = v
                            gradient[b, bias_at[u] + g] += v
                        for q in range(trained):
                            gradient[b, local_at[u, local_q[level, q]]] += carried * C[b, t, u, 0, local_q[level, q]]
                        lam[b, u, 0] = carried * A[b, t, u, 0, 0]
                        continue
                    for k in range(states):
                        carried = lam[b, u, k]
                        mixed[k] = 0
                        for g in range(channels):
                            slope[u, g] += carried * B[b, t, u, k, g]
                        for q in range(trained):
                            gradient[b, local_at[u, local_q[level, q]]] += carried * C[b, t, u, k, local_q[level, q]]
                    for g in range(channels):
                        gradient[b, bias_at[u] + g] += slope[u, g]
                    for k in range(states):
                        for c in range(states):
                            mixed[c] += lam[b, u, k] * A[b, t, u, k, c]
                    for k in range(states):
                        lam[b, u, k] = mixed[k]
                if not some:
                    continue
                if level == 0:
                    for j in range(n_in):
                        v = x[b, t, j]
                        if v != 0:
                            e, e_end = in_ptr[j], in_ptr[j + 1]
                            add_weights(b, v, slope, in_fed, level, fed_in, e, e_end, in_target, in_at, gradient)
                            immediate += fed_in * (e_end - e)
                            ones += fed_in * (e_end - e) if v == 1 else 0
                else:
                    below = layers[level - 1, 1]
                    for j in range(below, first):
                        e, e_end = in_ptr[n_in + j], in_ptr[n_in + j + 1]
                        v = y[b, t, j]
                        if v != 0:
                            add_weights(b, v, slope, in_fed, level, fed_in, e, e_end, in_target, in_at, gradient)
                            immediate += fed_in * (e_end - e)
                            ones += fed_in * (e_end - e) if v == 1 else 0
                        if moves(phi, b, t, j, layers[level - 1, 0]):
                            eta[j] += pull(slope, in_fed, level, fed_in, e, e_end, in_target, in_at, theta, s)
                            propagate += fed_in * (e_end - e)
                if fed_rec > 0:
                    for j in range(first, end):
                        e, e_end = rec_ptr[j], rec_ptr[j + 1]
                        v = y[b, t - 1, j]
                        if v != 0:
                            add_weights(b, v, slope, rec_fed, level, fed_rec, e, e_end, rec_target, rec_at, gradient)
                            immediate += fed_rec * (e_end - e)
                            ones += fed_rec * (e_end - e) if v == 1 else 0
                        if moves(phi, b, t - 1, j, states):
                            eta[j] = pull(slope, rec_fed, level, fed_rec, e, e_end, rec_target, rec_at, theta, s)
                            propagate += fed_rec * (e_end - e)
                leak, own = alive_units * states * states, alive_units * (channels + states * trained)
                count[level, LEAK] += leak
                count[level, IMMEDIATE] += immediate + own
                count[level, PROPAGATE] += propagate
                count[level, ONES_INFLUENCE] += ones + alive_units * channels
                count[level, WEIGHTS] += propagate
                count[level, SUMS] += immediate + own
                count[level, BACK] += alive_units * states
                count[level, STEP_READ] += propagate + immediate + own + leak + alive_units * states * (channels + 1)
                count[level, STEP_WRITTEN] += alive_units * (channels + states)
        for level in range(levels):
            end = layers[level + 1, 1] if level + 1 < levels else units
            for u in range(layers[level, 1], end):
                if eta[u] != 0:
                    receive(
                        b, start, u, layers[level, 0], layers[level, 6], local_q, level, local_at, eta[u], lam, phi, D,
                        gradient,
                    )  # fmt: skip


@jit
def go_back_to_inputs(
    lo, hi, start, steps, layers, in_fed, rec_fed, local_q, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at,
    bias_at, local_at, theta, segment, x, y, A, B, C, phi, D, told, delta, pressed,
    force, force_q, gradient, lam, eta, slope, mixed, d_x, count,
):  # fmt: skip
    """go_back, slot by slot; d_x[b, t - start - 1] (n_in,), zeros before, gets d target / d x of slot t."""
    units = layers[1, 1] if layers.shape[0] > 1 else bias_at.shape[0]
    for b in range(lo, hi):
        for t in range(start + steps, start, -1):
            go_back(
                b, b + 1, t - 1, 1, layers, in_fed, rec_fed, local_q, n_in, in_ptr, in_target, in_at, rec_ptr,
                rec_target, rec_at, bias_at, local_at, theta, segment, x, y, A, B, C, phi, D, told, delta, pressed,
                force, force_q, gradient, lam, eta, slope, mixed, count,
            )  # fmt: skip
            some = False  # slope is still that of the first layer at slot t
            for u in range(units):
                for g in range(layers[0, 5]):
                    some = some or slope[u, g] != 0
            if not some:
                continue
            for j in range(n_in):
                e, e_end = in_ptr[j], in_ptr[j + 1]
                d_x[b, t - start - 1, j] = pull(
                    slope, in_fed, 0, layers[0, 3], e, e_end, in_target, in_at, theta, segment[b, t]
                )
                count[0, PROPAGATE] += layers[0, 3] * (e_end - e)
                count[0, WEIGHTS] += layers[0, 3] * (e_end - e)
                count[0, STEP_READ] += layers[0, 3] * (e_end - e)


@jit
def read_rows(lo, hi, layers, layer_of, tile, span, unit, row, lam, M, scale, gradient, count):
    """gradient[b] += lam[b] @ M: what the past before a block has to do with the target."""
    levels = layers.shape[0]
    for b in range(lo, hi):
        for i in range(tile.shape[0]):
            which, column, w, home = tile[i, 0], tile[i, 1], tile[i, 2], tile[i, 5]
            start = span[which, home]
            for r in range(start, span[which, levels]):
                u = unit[r]
                held = scale[b, tile[i, 4] + r - start]
                if held == 0:
                    continue
                for k in range(layers[layer_of[u], 0]):
                    factor = lam[b, u, k] * held
                    if factor != 0:
                        at = tile[i, 3] + row[r] + k
                        for j in range(w):
                            gradient[b, column + j] += factor * M[b, at, j]
                        count[layer_of[u], GRADIENT] += w
                        count[layer_of[u], READ] += w
                        count[layer_of[u], GRADIENTS] += w
