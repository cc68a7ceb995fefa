"""The way back for many rows side by side: d(state after a block)/d(state at each of its steps).

Lane l of a group is one end state; hist[t, s, l] = d(end state l)/d(state s after slot t). The adjoint step and what
the block itself adds to M are then sums of vectors over the lanes, for active sources and active inputs alone:

    hist(t - 1) = hist(t) A + (W^T-weighted sums over the targets of units with phi != 0) phi
    M[l, column of weight (g, i, j)] += sum over t of hist[t, state of i, l] B_ig(t) z_j(t)

Schmidhuber 1992 (A fixed size storage O(n^3) time complexity learning algorithm for fully recurrent continually running
networks), Williams and Zipser 1995 (Gradient-based learning algorithms for recurrent networks and their computational
complexity), here for sparse activity, any cell and any stack.
"""

from evsim.jit import jit, jit_fused, jit_fused_inline
from evsim.opcount import IMMEDIATE, LEAK, ONES_INFLUENCE, PROPAGATE, ROWS, STEP_READ, WORDS_READ, WORDS_WRITTEN
from evsim.vector import combine, combine_2, combine_3, combine_4

UNIT = 32  # lanes are as many as a tuple is long, times this: its length is part of a kernel's type, so loops are fixed
SQUARE = 16  # columns and lanes that are turned together
SCAN = 8  # steps after which it is seen whether anything is left


@jit_fused_inline
def hear(width, t, now, lo, hi, source, end, state, coef, hist, eta, waiting):
    """eta of the sources of entries lo..hi-1, from their targets; returns the edges used."""
    first = end[t, lo - 1] if lo > 0 else 0
    e = first
    for a in range(lo, hi):
        u = source[t, a]
        kept = 1 if waiting[u] else 0
        combine(eta, u, eta.dtype.type(kept), hist[now], 0, state[t], coef[t], e, end[t, a], width)
        waiting[u] = True
        e = end[t, a]
    return e - first


@jit_fused_inline
def arrive(width, b, t, steps, now, after, u, s, states, memory, A, phi, tiny, hist, eta, waits):
    """hist of a unit's states after slot t, by its own leak from t + 1 and its event from eta; returns the leaks."""
    nothing, leaks = 0 * tiny, 0
    for c in range(states):
        factor = phi[b, t, u, c] if waits else nothing
        own = A[b, t + 1, u, c, c] if memory and t < steps else nothing
        leaks += own != 0
        if t == steps:  # what the end states are of themselves stands there
            if waits:
                for j in range(width):
                    hist[now, s + c, j] += factor * eta[u, j]
        elif waits and memory:
            for j in range(width):
                v = own * hist[after, s + c, j] + factor * eta[u, j]
                hist[now, s + c, j] = v if abs(v) >= tiny else nothing * v
        elif memory:
            for j in range(width):
                v = own * hist[after, s + c, j]
                hist[now, s + c, j] = v if abs(v) >= tiny else nothing * v
        elif waits:
            for j in range(width):
                hist[now, s + c, j] = factor * eta[u, j]
        else:
            for j in range(width):
                hist[now, s + c, j] = nothing
        for k in range(states):
            if k != c and memory and t < steps:
                other = A[b, t + 1, u, k, c]
                if other != 0:
                    leaks += 1
                    for j in range(width):
                        hist[now, s + c, j] += other * hist[after, s + k, j]
    return leaks


@jit
def is_nothing(width, hist, now, units):
    """Are all of hist's vectors of that slot 0, of the first so many states."""
    for s in range(units):
        for j in range(width):
            if hist[now, s, j] != 0:
                return False
    return True


@jit_fused
def carry_back(
    lanes, b, steps, rows, row_state, top, layers, first_state, local_q, rec_source, rec_end, rec_begin, rec_state,
    rec_coef, in_source, in_end, in_begin, in_state, in_coef, A, phi, D, tiny, hist, eta, waiting, direct, count,
):  # fmt: skip
    """Fill hist (slots, states, lanes) for one group of `rows` end states row_state, all of layers up to `top`.

    direct (units, L, lanes): the terms of local parameters. hist may have fewer slots than the block: slot t then
    stands at t modulo their number, and only the last are left. tiny: what has become smaller is 0; where nothing else
    is left, so is the rest of the way.
    """
    units, depth, width = first_state.shape[0], hist.shape[0], UNIT * len(lanes)
    end = units if top + 1 == layers.shape[0] else layers[top + 1, 1]
    below = first_state[end - 1] + layers[top, 0]  # states of the layers that matter
    for s in range(below):
        for j in range(width):
            hist[steps % depth, s, j] = 0
    for r in range(rows):
        hist[steps % depth, row_state[r], r] = 1
    for u in range(units):
        waiting[u] = False
        for q in range(direct.shape[1]):
            for j in range(width):
                direct[u, q, j] = 0
    for t in range(steps, -1, -1):
        now, after = t % depth, (t + 1) % depth
        for level in range(top, -1, -1):
            states, first, memory, trained = layers[level, 0], layers[level, 1], layers[level, 2] != 0, layers[level, 6]
            last = layers[level + 1, 1] if level + 1 < layers.shape[0] else units
            leak = 0
            for u in range(first, last):
                leak += arrive(
                    width, b, t, steps, now, after, u, first_state[u], states, memory, A, phi, tiny, hist, eta,
                    waiting[u],
                )  # fmt: skip
                if waiting[u]:
                    waiting[u] = False
                    for q in range(trained):
                        factor = D[b, t, u, local_q[level, q]]
                        if factor != 0:
                            for j in range(width):
                                direct[u, q, j] += factor * eta[u, j]
            count[level, LEAK] += leak * rows
            count[level, WORDS_READ] += leak * rows
            count[level, WORDS_WRITTEN] += states * (last - first) * rows
            if t > 0:
                edges = hear(
                    width, t, now, rec_begin[t, level], rec_begin[t, level + 1], rec_source, rec_end, rec_state,
                    rec_coef, hist, eta, waiting,
                )  # fmt: skip
                if level > 0:
                    edges += hear(
                        width, t, now, in_begin[t, level - 1], in_begin[t, level], in_source, in_end, in_state,
                        in_coef, hist, eta, waiting,
                    )  # fmt: skip
                heard = rec_begin[t, level + 1] - rec_begin[t, level]
                if level > 0:
                    heard += in_begin[t, level] - in_begin[t, level - 1]
                count[level, PROPAGATE] += edges * rows
                count[level, WORDS_READ] += edges * rows
                count[level, WORDS_WRITTEN] += heard * rows
        if t % SCAN == 0 and t > 0 and is_nothing(width, hist, now, below):
            for before in range(max(0, t + 1 - depth), t):
                for s in range(below):
                    for j in range(width):
                        hist[before % depth, s, j] = 0
            break


@jit_fused_inline
def add_up(width, into, r, basis, time, factor, channels, m):
    """into[r + g] = sum over n < m of factor[g, n] * basis[time[n]], for each channel g."""
    zero, g = into.dtype.type(0), 0
    while channels - g >= 4:
        combine_4(into, r + g, zero, basis, 0, time, factor[g:], 0, m, width)
        g += 4
    if channels - g == 3:
        combine_3(into, r + g, zero, basis, 0, time, factor[g:], 0, m, width)
    elif channels - g == 2:
        combine_2(into, r + g, zero, basis, 0, time, factor[g:], 0, m, width)
    elif channels - g == 1:
        combine(into, r + g, zero, basis, 0, time, factor[g], 0, m, width)


@jit_fused_inline
def add_sources(
    width, into, r, e, end, u, source, offset, channels, fed, level, single, memory, gain, present, basis, time, value,
    length, when, factor,
):  # fmt: skip
    """Columns r, r + 1, ... of edges e..end-1, `channels` each, from the events of their sources.

    Returns the additions, and those whose factor is an event of 1. single: one state, whose basis is multiplied by
    gain[u, t, g].
    """
    done, ones = 0, 0
    for edge in range(e, end):
        j = offset + source[edge]
        m = 0
        for n in range(length[j]):
            t = time[j, n]
            if memory or present[u, t]:
                when[m] = t
                if single:
                    for g in range(channels):
                        factor[g, m] = value[j, n] * gain[u, t, fed[level, g]]
                else:
                    factor[0, m] = value[j, n]
                    ones += channels if value[j, n] == 1 else 0
                m += 1
        if single:
            add_up(width, into, r, basis[0], when, factor, channels, m)
        else:
            for g in range(channels):
                add_up(width, into, r + g, basis[fed[level, g]], when, factor, 1, m)
        r += channels
        done += m * channels
    return done, ones


@jit
def turn(lanes, columns, w, turned):
    """turned[r, j] = columns[j, r], in squares that stay in the nearest cache."""
    width = UNIT * len(lanes)
    for j in range(0, w, SQUARE):
        for r in range(0, width, SQUARE):
            for q in range(r, r + SQUARE):
                for c in range(SQUARE):
                    turned[q, j + c] = columns[j + c, q]


@jit_fused
def spread_unit(lanes, b, u, steps, states, channels, s, B, hist, basis):
    """Bring a unit's rows together: basis[0, t] = lam of its state, or with several basis[g, t] = lam B."""
    width = UNIT * len(lanes)
    for t in range(1, steps + 1):
        if states == 1:
            for j in range(width):
                basis[0, t, j] = hist[t, s, j]
            continue
        for g in range(channels):
            for j in range(width):
                basis[g, t, j] = 0
            for k in range(states):
                factor = B[b, t, u, k, g]
                if factor != 0:
                    for j in range(width):
                        basis[g, t, j] += factor * hist[t, s + k, j]


@jit_fused
def add_block(
    lanes, b, steps, rows, row_unit, row_part, top, layers, first_state, n_in, in_source, in_fed, rec_source,
    rec_fed, local_q, tile, piece_ptr, pieces, span, row, position, B, hist, direct, rec_time, rec_value,
    rec_length, in_time, in_value, in_length, gain, local, present, when, factor, basis, columns, turned, M, count,
):  # fmt: skip
    """Add to the group's rows of M what the block itself contributes."""
    held, width = -1, UNIT * len(lanes)
    for i in range(tile.shape[0]):
        which, first_column, first_row, home = tile[i, 0], tile[i, 1], tile[i, 3], tile[i, 5]
        if home > top:
            continue
        some = False
        for r in range(rows):
            some = some or position[which, row_unit[r]] >= 0
        if not some:
            continue
        states, fed_in, fed_rec = layers[home, 0], layers[home, 3], layers[home, 4]
        channels, trained, single, memory = layers[home, 5], layers[home, 6], layers[home, 0] == 1, layers[home, 2] != 0
        immediate, ones = 0, 0
        for piece in range(piece_ptr[i], piece_ptr[i + 1]):
            u = pieces[piece, 0]
            s = first_state[u]
            if u != held:
                spread_unit(lanes, b, u, steps, states, channels, s, B, hist, basis)
                held = u
            at = pieces[piece, 1] - first_column
            e, end = pieces[piece, 2], pieces[piece, 3]
            done, of_one = add_sources(
                width, columns, at, e, end, u, in_source, 0 if home == 0 else n_in, fed_in, in_fed, home, single,
                memory, gain, present, basis, in_time, in_value, in_length, when, factor,
            )  # fmt: skip
            immediate, ones = immediate + done, ones + of_one
            at += fed_in * (end - e)
            e, end = pieces[piece, 4], pieces[piece, 5]
            done, of_one = add_sources(
                width, columns, at, e, end, u, rec_source, 0, fed_rec, rec_fed, home, single, memory, gain, present,
                basis, rec_time, rec_value, rec_length, when, factor,
            )  # fmt: skip
            immediate, ones = immediate + done, ones + of_one
            at += fed_rec * (end - e)
            if pieces[piece, 6] != 0:
                m = 0
                for t in range(1, steps + 1):
                    if present[u, t]:
                        when[m] = t
                        for g in range(channels):
                            factor[g, m] = gain[u, t, g] if single else 1
                        m += 1
                if single:
                    add_up(width, columns, at, basis[0], when, factor, channels, m)
                else:
                    for g in range(channels):
                        add_up(width, columns, at + g, basis[g], when, factor, 1, m)
                at += channels
                immediate += channels * m
                ones += 0 if single else channels * m
                for q in range(trained):
                    for j in range(width):
                        columns[at, j] = direct[u, q, j]
                    for n in range(m):
                        t = when[n]
                        for k in range(states):
                            c = local[u, t, k, local_q[home, q]]
                            if c != 0:
                                for j in range(width):
                                    columns[at, j] += c * hist[t, s + k, j]
                    at += 1
                immediate += trained * states * m
        w = tile[i, 2]
        turn(lanes, columns, w, turned)
        for r in range(rows):
            place = position[which, row_unit[r]]
            if place >= 0:
                to = first_row + row[span[which, home] + place] + row_part[r]
                for j in range(w):
                    M[b, to, j] += turned[r, j]
        count[home, IMMEDIATE] += immediate * rows
        count[home, ONES_INFLUENCE] += ones * rows
        count[home, STEP_READ] += immediate
        count[home, ROWS] += rows
        count[home, WORDS_READ] += rows * (w + immediate)
        count[home, WORDS_WRITTEN] += rows * w
