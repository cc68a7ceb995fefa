"""Arithmetic on single rows of the influence matrix: what `evsim.influence` does wherever a row is due.

M (rows, width) holds influence of one stream; Y (rows, width) keeps what a unit shows to others: M's own row, to be
multiplied by a gain of phi, where the unit has one state; Y itself, with a gain of 1, where it has more. `to` and `at`
are rows of M and Y, w the columns of the tile, `column` its first column. Columns of `layers`: states, first unit,
memory, fed input and recurrent channels, channels, trained local parameters.
"""

from evsim.jit import jit, jit_inline
from evsim.vector import combine


@jit
def couple_rows(M, to, w, states, A, b, t, u, Y, spare, source, coef):
    """M_k <- sum over k' of A[k, k'] M_k' for a unit of several states, and True; only where they do mix.

    Y[spare:]: room for as many rows; source, coef: for as many entries.
    """
    mixed = False
    for c in range(states):
        used = False
        for k in range(states):
            used = used or (k != c and A[b, t, u, k, c] != 0)
        if used:
            mixed = True
            for j in range(w):
                Y[spare + c, j] = M[to + c, j]
    if not mixed:
        return False
    for k in range(states):
        n = 0
        for c in range(states):
            if c != k and A[b, t, u, k, c] != 0:
                source[n] = spare + c
                coef[n] = A[b, t, u, k, c]
                n += 1
        combine(M, to + k, A[b, t, u, k, k], Y, 0, source, coef, 0, n, w)
    return True


@jit
def count_entries(states, A, b, t, u):
    """Entries of a unit's A that are not 0."""
    found = 0
    for k in range(states):
        for c in range(states):
            found += A[b, t, u, k, c] != 0
    return found


@jit_inline
def show(Y, at, M, to, w, scale, states, phi, b, t, u):
    """Keep a unit's row of Y at Y[at]: M's own row where there is one state, else the sum of phi_k M_k."""
    factor = scale if states == 1 else phi[b, t, u, 0]
    for j in range(w):
        Y[at, j] = factor * M[to, j]
    for k in range(1, states):
        factor = phi[b, t, u, k]
        if factor != 0:
            for j in range(w):
                Y[at, j] += factor * M[to + k, j]


@jit_inline
def count_shown(states, phi, b, t, u):
    """Rows of M that `show` reads: that of the first state, and of others that move the event."""
    read = 1
    for k in range(1, states):
        read += phi[b, t, u, k] != 0
    return read


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


@jit_inline
def add_edges(M, b, to, at, t, u, states, channels, fed, level, values, slot, source, e, end, B):
    """Add B z to a unit's rows, from column `at` on, for the edges e..end-1 whose source z is not zero at `slot`.

    Returns the additions done, and those of them with z = 1.
    """
    done, ones = 0, 0
    for edge in range(e, end):
        v = values[b, slot, source[edge]]
        if v != 0:
            for k in range(states):
                for g in range(channels):
                    M[to + k, at + g] += B[b, t, u, k, fed[level, g]] * v
            done += states * channels
            ones += states * channels if v == 1 else 0
        at += channels
    return done, ones


@jit_inline
def add_own(
    M, to, states, column, pieces, piece, b, t, u, layers, level, in_fed, rec_fed, local_q, heard, in_source,
    rec_source, y, B, C,
):  # fmt: skip
    """Add a unit's own inputs, biases and local parameters to its rows; returns as `add_edges` does."""
    fed_in, fed_rec, channels, trained = layers[level, 3], layers[level, 4], layers[level, 5], layers[level, 6]
    at = pieces[piece, 1] - column
    e, end = pieces[piece, 2], pieces[piece, 3]
    done, ones = add_edges(M, b, to, at, t, u, states, fed_in, in_fed, level, heard, t, in_source, e, end, B)
    at += fed_in * (end - e)
    e, end = pieces[piece, 4], pieces[piece, 5]
    more, more_ones = add_edges(M, b, to, at, t, u, states, fed_rec, rec_fed, level, y, t - 1, rec_source, e, end, B)
    at += fed_rec * (end - e)
    done, ones = done + more, ones + more_ones
    if pieces[piece, 6] != 0:
        for k in range(states):
            for g in range(channels):
                M[to + k, at + g] += B[b, t, u, k, g]
            for q in range(trained):
                M[to + k, at + channels + q] += C[b, t, u, k, local_q[level, q]]
        done += states * (channels + trained)
        ones += states * (channels + trained)
    return done, ones
