"""Arithmetic on single rows of the influence matrix: what `evsim.influence` does wherever a row is due.

M (streams, rows, width) holds influence; Y (rows, width) keeps what a unit shows to others: M's own row, to be
multiplied by a gain of phi, where the unit has one state; Y itself, with a gain of 1, where it has more. `to` and `at`
are rows of M and Y, w the columns of the tile, `column` its first column. Columns of `layers`: states, first unit,
memory, fed input and recurrent channels, channels, trained local parameters.
"""

from evsim.jit import jit, jit_inline


@jit_inline
def advance_row(M, b, to, w, a, Y, base, source, coef, t, e, end, k):
    """M[b, to] = a * M[b, to] + sum over the listed edges e..end-1 of coef * Y[base + source], four in one pass."""
    left = end - e
    if left >= 4:
        c0, c1, c2, c3 = coef[t, e, k], coef[t, e + 1, k], coef[t, e + 2, k], coef[t, e + 3, k]
        r0, r1 = base + source[t, e], base + source[t, e + 1]
        r2, r3 = base + source[t, e + 2], base + source[t, e + 3]
        for j in range(w):
            M[b, to, j] = a * M[b, to, j] + c0 * Y[r0, j] + c1 * Y[r1, j] + c2 * Y[r2, j] + c3 * Y[r3, j]
        e += 4
    elif left == 3:
        c0, c1, c2 = coef[t, e, k], coef[t, e + 1, k], coef[t, e + 2, k]
        r0, r1, r2 = base + source[t, e], base + source[t, e + 1], base + source[t, e + 2]
        for j in range(w):
            M[b, to, j] = a * M[b, to, j] + c0 * Y[r0, j] + c1 * Y[r1, j] + c2 * Y[r2, j]
        e += 3
    elif left == 2:
        c0, c1 = coef[t, e, k], coef[t, e + 1, k]
        r0, r1 = base + source[t, e], base + source[t, e + 1]
        for j in range(w):
            M[b, to, j] = a * M[b, to, j] + c0 * Y[r0, j] + c1 * Y[r1, j]
        e += 2
    elif left == 1:
        c0, r0 = coef[t, e, k], base + source[t, e]
        for j in range(w):
            M[b, to, j] = a * M[b, to, j] + c0 * Y[r0, j]
        e += 1
    elif a != 1:
        for j in range(w):
            M[b, to, j] *= a
    while e + 4 <= end:
        c0, c1, c2, c3 = coef[t, e, k], coef[t, e + 1, k], coef[t, e + 2, k], coef[t, e + 3, k]
        r0, r1 = base + source[t, e], base + source[t, e + 1]
        r2, r3 = base + source[t, e + 2], base + source[t, e + 3]
        for j in range(w):
            M[b, to, j] += c0 * Y[r0, j] + c1 * Y[r1, j] + c2 * Y[r2, j] + c3 * Y[r3, j]
        e += 4
    while e < end:
        c0, r0 = coef[t, e, k], base + source[t, e]
        for j in range(w):
            M[b, to, j] += c0 * Y[r0, j]
        e += 1


@jit
def mix_rows(M, b, to, w, states, A, t, u, before):
    """M_k <- sum over k' of A[k, k'] M_k' for a unit of several states; returns the factors that were not zero."""
    done = 0
    for k in range(states):
        for j in range(w):
            before[k, j] = M[b, to + k, j]
            M[b, to + k, j] = 0
    for k in range(states):
        for c in range(states):
            factor = A[b, t, u, k, c]
            if factor != 0:
                done += 1
                for j in range(w):
                    M[b, to + k, j] += factor * before[c, j]
    return done


@jit_inline
def show(Y, at, M, to, w, states, phi, b, t, u):
    """Keep a unit's row of Y at Y[at]: M's own row where there is one state, else the sum of phi_k M_k."""
    if states == 1:
        for j in range(w):
            Y[at, j] = M[b, to, j]
        return
    factor = phi[b, t, u, 0]
    for j in range(w):
        Y[at, j] = factor * M[b, to, j]
    for k in range(1, states):
        factor = phi[b, t, u, k]
        if factor != 0:
            for j in range(w):
                Y[at, j] += factor * M[b, to + k, j]


@jit_inline
def first_local(column, pieces, piece, layers, level):
    """Place, in its tile, of the first trained local parameter of the unit whose piece ends with them."""
    edges = layers[level, 3] * (pieces[piece, 3] - pieces[piece, 2])
    edges += layers[level, 4] * (pieces[piece, 5] - pieces[piece, 4])
    return pieces[piece, 1] - column + edges + layers[level, 5]


@jit_inline
def show_locals(Y, at, gain, D, b, t, u, column, pieces, piece, layers, level, local_q):
    """Add D of a unit's own trained local parameters to its kept row of Y, divided by the gain to come."""
    if pieces[piece, 6] != 0:
        place = first_local(column, pieces, piece, layers, level)
        for q in range(layers[level, 6]):
            Y[at, place + q] += D[b, t, u, local_q[level, q]] / gain


@jit
def add_scaled(total, row, factor, w):
    """total[:w] += factor * row[:w]."""
    for j in range(w):
        total[j] += factor * row[j]


@jit_inline
def add_loss(gradient, b, t, u, error, column, w, M, to, states, phi, D, pieces, p, p_end, layers, level, local_q):
    """Add error * Y of one unit to the gradient over a tile's columns; returns the rows of M that it read.

    error: d loss / d event of the unit.
    """
    done = 0
    for k in range(states):
        factor = error * phi[b, t, u, k]
        if factor != 0:
            done += 1
            add_scaled(gradient[b, column : column + w], M[b, to + k], factor, w)
    for piece in range(p, p_end):
        if pieces[piece, 6] != 0:
            place = first_local(column, pieces, piece, layers, level)
            for q in range(layers[level, 6]):
                gradient[b, column + place + q] += error * D[b, t, u, local_q[level, q]]
    return done


@jit_inline
def add_edges(M, b, to, at, t, u, states, channels, fed, level, values, slot, source, e, end, B):
    """Add B z to a unit's rows, from column `at` on, for the edges e..end-1 whose source z is not zero at `slot`."""
    done = 0
    for edge in range(e, end):
        v = values[b, slot, source[edge]]
        if v != 0:
            for k in range(states):
                for g in range(channels):
                    M[b, to + k, at + g] += B[b, t, u, k, fed[level, g]] * v
            done += states * channels
        at += channels
    return done


@jit_inline
def add_own(
    M, to, states, column, pieces, piece, b, t, u, layers, level, in_fed, rec_fed, local_q, heard, in_source,
    rec_source, y, B, C,
):  # fmt: skip
    """Add a unit's own inputs, biases and local parameters to its rows; returns the additions done."""
    fed_in, fed_rec, channels, trained = layers[level, 3], layers[level, 4], layers[level, 5], layers[level, 6]
    at = pieces[piece, 1] - column
    e, end = pieces[piece, 2], pieces[piece, 3]
    done = add_edges(M, b, to, at, t, u, states, fed_in, in_fed, level, heard, t, in_source, e, end, B)
    at += fed_in * (end - e)
    e, end = pieces[piece, 4], pieces[piece, 5]
    done += add_edges(M, b, to, at, t, u, states, fed_rec, rec_fed, level, y, t - 1, rec_source, e, end, B)
    at += fed_rec * (end - e)
    if pieces[piece, 6] != 0:
        for k in range(states):
            for g in range(channels):
                M[b, to + k, at + g] += B[b, t, u, k, g]
            for q in range(trained):
                M[b, to + k, at + channels + q] += C[b, t, u, k, local_q[level, q]]
        done += states * (channels + trained)
    return done
