"""Lists of what happened in a block: edges along which influence flowed, by source, and events, by source.

They are made once and serve every group of rows in `evsim.lanes`.
"""

from evsim.jit import jit
from evsim.opcount import COEFFICIENTS, STEP_READ, WEIGHTS
from evsim.sweep import moves


@jit
def list_sources(
    b, t, slot, up, offset, layers, first_state, fed, ptr, target, at, theta, B, phi, present, source, end, begin,
    state, coef, count,
):  # fmt: skip
    """List the edges along which slot t hears the events of `slot`, by source, with a coefficient per target state.

    up: 0 for recurrent edges, 1 for those to the layer above; the edges of unit u begin at ptr[offset + u]. Entries of
    level l are begin[t, l]..begin[t, l + 1] - 1; the edges of entry a end at end[t, a], each with state, coef.
    present[u, t]: is the state of unit u read by anything.
    """
    levels, units, zero = layers.shape[0], first_state.shape[0], theta.dtype.type(0)
    a, e = 0, 0
    slopes, states_now, coefs = B[b, t], state[t], coef[t]
    for level in range(levels):
        begin[t, level] = a
        upper = level + up
        if upper >= levels:
            continue
        width = layers[upper, 4 - up]
        if width == 0:
            continue
        states, channels, only = layers[upper, 0], fed[upper], fed[upper, 0]
        last, weighed = layers[level + 1, 1] if level + 1 < levels else units, 0
        for u in range(layers[level, 1], last):
            if not moves(phi, b, slot, u, layers[level, 0]):
                continue
            before = e
            for edge in range(ptr[offset + u], ptr[offset + u + 1]):
                i, p = target[edge], at[edge]
                if not present[i, t]:
                    continue  # nothing reads such a unit's state
                weighed += 1
                if states == 1 and width == 1:
                    total = slopes[i, 0, only] * theta[p]
                    if total != 0:
                        states_now[e] = first_state[i]
                        coefs[e] = total
                        e += 1
                    continue
                for k in range(states):
                    slope, total = slopes[i, k], zero
                    for g in range(width):
                        total += slope[channels[g]] * theta[p + g]
                    if total != 0:
                        states_now[e] = first_state[i] + k
                        coefs[e] = total
                        e += 1
            if e > before:
                source[t, a] = u
                end[t, a] = e
                a += 1
        count[upper, COEFFICIENTS] += weighed * states * width
        count[upper, WEIGHTS] += weighed * states * width
        count[upper, STEP_READ] += weighed * states * width
    begin[t, levels] = a


@jit
def list_events(values, b, lo, hi, shift, first, time, value, length):
    """For each source j, the slots lo..hi at which values[b, t, j] is not 0, each as t + shift: time[first + j]."""
    for j in range(values.shape[2]):
        length[first + j] = 0
    for t in range(lo, hi + 1):
        for j in range(values.shape[2]):
            v = values[b, t, j]
            if v != 0:
                m = length[first + j]
                time[first + j, m] = t + shift
                value[first + j, m] = v
                length[first + j] = m + 1


@jit
def spread_steps(b, steps, layers, layer_of, B, C, phi, gain, local, present):
    """Bring together what belongs to one unit: gain[u, t, g] = B, for one state; local[u, t] = C; present[u, t]."""
    for u in range(layer_of.shape[0]):
        level = layer_of[u]
        for t in range(1, steps + 1):
            present[u, t] = layers[level, 2] != 0 or moves(phi, b, t, u, layers[level, 0])
            for g in range(gain.shape[2]):
                gain[u, t, g] = B[b, t, u, 0, g]
            for k in range(local.shape[2]):
                for q in range(local.shape[3]):
                    local[u, t, k, q] = C[b, t, u, k, q]


@jit
def list_block(
    b, steps, layers, layer_of, first_state, n_in, in_fed, in_ptr, in_target, in_at, rec_fed, rec_ptr, rec_target,
    rec_at, theta, B, C, phi, x, y, rec_source, rec_end, rec_begin, rec_state, rec_coef, in_source, in_end,
    in_begin, in_state, in_coef, rec_time, rec_value, rec_length, in_time, in_value, in_length, gain, local, present,
    count,
):  # fmt: skip
    """List a block's edges and events; returns (edges along which influence flows, own inputs), both over all slots."""
    flows, own = 0, 0
    spread_steps(b, steps, layers, layer_of, B, C, phi, gain, local, present)
    for t in range(1, steps + 1):
        list_sources(
            b, t, t - 1, 0, 0, layers, first_state, rec_fed, rec_ptr, rec_target, rec_at, theta, B, phi, present,
            rec_source, rec_end, rec_begin, rec_state, rec_coef, count,
        )  # fmt: skip
        list_sources(
            b, t, t, 1, n_in, layers, first_state, in_fed, in_ptr, in_target, in_at, theta, B, phi, present, in_source,
            in_end, in_begin, in_state, in_coef, count,
        )  # fmt: skip
        for end, begin in ((rec_end, rec_begin), (in_end, in_begin)):
            last = begin[t, layers.shape[0]]
            flows += end[t, last - 1] if last > 0 else 0
    list_events(y, b, 0, steps - 1, 1, 0, rec_time, rec_value, rec_length)
    list_events(x, b, 1, steps, 0, 0, in_time, in_value, in_length)
    if layers.shape[0] > 1:
        list_events(y, b, 1, steps, 0, n_in, in_time, in_value, in_length)
    for u in range(layer_of.shape[0]):
        level = layer_of[u]
        own += rec_length[u] * layers[level, 4] * (rec_ptr[u + 1] - rec_ptr[u])
        own += steps * (layers[level, 5] + layers[level, 0] * layers[level, 6])
        if level + 1 < layers.shape[0]:
            own += in_length[n_in + u] * layers[level + 1, 3] * (in_ptr[n_in + u + 1] - in_ptr[n_in + u])
    for j in range(n_in):
        own += in_length[j] * layers[0, 3] * (in_ptr[j + 1] - in_ptr[j])
    return flows, own
