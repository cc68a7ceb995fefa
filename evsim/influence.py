"""The influence matrix M = d(state)/d(parameters): its kernels. Advancing it is the cost of exact online learning.

For every unit i with states s_i, over the columns that can reach it (`evsim.tiles`),

    M_i <- A_i M_i + B_i (W_rec Y(t-1) + W_in Y_below(t)) + own inputs + C_i          Y_i = phi_i M_i + D_i

Rows of Y are read only for units with phi != 0; rows of M that nothing has reached yet are not touched; rows of a
memory-less unit with phi = 0 are not computed, and those with phi != 0 live in Y until the last of the steps. All of
that is exact: what is skipped is zero, or is never read. A row of one state at which nothing arrives is not touched
either: its leak goes into a factor, `scale`, by which the row is multiplied when it is written next.

`evsim.carry` passes a step through a layer's rows, `evsim.rows` through one row, where the names are explained.
"""

from evsim.carry import ADDED, EDGES, KEPT, LEAKS, ONES, SHOWN, WRITTEN, carry_listed, carry_own, carry_rows, show_own
from evsim.jit import jit, jit_inline
from evsim.links import count_links, link
from evsim.opcount import (
    GRADIENT,
    GRADIENTS,
    IMMEDIATE,
    LEAK,
    ONES_INFLUENCE,
    PROPAGATE,
    READ,
    ROWS,
    SHOW,
    STEP_READ,
    WORDS_READ,
    WORDS_WRITTEN,
)
from evsim.rows import first_local, show
from evsim.vector import combine


@jit
def recall(
    slot, b, M, scale, Y, shown, gain, phi, D, column, wide, first_row, flag, home, start, end, unit, row, layer_of,
    layers, pieces, p, p_end, local_q, position, which,
):  # fmt: skip
    """Keep the rows of Y that the step in `slot` has left in a tile; True if none of them is missing."""
    filled = True
    for r in range(start, end):
        u = unit[r]
        shown[r - start] = False
        if gain[0, u] != 0 and layers[layer_of[u], 4] > 0:
            held = scale[flag + r - start]
            if held != 0:
                shown[r - start] = True
                show(Y, r - start, M, first_row + row[r], wide, held, layers[layer_of[u], 0], phi, b, slot, u)
            else:
                filled = False
    show_own(Y, 0, shown, gain[0], D, b, slot, column, pieces, p, p_end, layers, home, local_q, position, which)
    return filled


@jit_inline
def enlist(source, coef, n, factor, place):
    """Add a row of M and its factor to a list of n, unless the factor is 0; returns the list's length."""
    if factor != 0:
        source[n] = place
        coef[n] = factor
        n += 1
    return n


@jit_inline
def add_loss(
    b, slot, error, first_unit, M, first_row, scale, flag, top, first, last, unit, row, states, known, phi, source,
    coef, Y, lost, wide,
):  # fmt: skip
    """Y[lost] += sum of error * phi * rows first..last-1; returns how many rows of M that were.

    error: d loss / d event of these units. known: rows stand in M one after another, and hold as they are where phi is
    not 0.
    """
    one, n = M.dtype.type(1), 0
    for r in range(first, last):
        u = unit[r]
        sent = error[u - first_unit]
        if sent == 0:
            continue
        held = one if known else scale[flag + r]
        for k in range(states):
            factor = sent * phi[b, slot, u, k] * held
            n = enlist(source, coef, n, factor, r - top if known else row[r] + k)
    if n > 0:
        combine(Y, lost, one, M, first_row, source, coef, 0, n, wide)
    return n


@jit_inline
def add_force(
    b, slot, force, M, first_row, scale, flag, top, first, last, unit, row, states, known, source, coef, Y, lost, wide,
):  # fmt: skip
    """Y[lost] += sum of force * rows first..last-1; returns how many rows of M that were. The rest as in add_loss."""
    one, n = M.dtype.type(1), 0
    for r in range(first, last):
        u = unit[r]
        held = one if known else scale[flag + r]
        for k in range(states):
            factor = force[b, slot, u, k] * held
            n = enlist(source, coef, n, factor, r - top if known else row[r] + k)
    if n > 0:
        combine(Y, lost, one, M, first_row, source, coef, 0, n, wide)
    return n


@jit_inline
def add_local_force(b, slot, force_q, Y, lost, column, p, p_end, pieces, level, layers, local_q):
    """Y[lost] += force_q in the columns of trained local parameters that pieces p..p_end-1 hold."""
    for piece in range(p, p_end):
        if pieces[piece, 6] != 0:
            u, place = pieces[piece, 0], first_local(column, pieces, piece, layers, level)
            for q in range(layers[level, 6]):
                Y[lost, place + q] += force_q[b, slot, u, local_q[level, q]]


@jit_inline
def add_local_loss(b, slot, delta, Y, lost, column, D, p, p_end, pieces, level, layers, local_q):
    """Y[lost] += error * D in the columns of trained local parameters that pieces p..p_end-1 hold."""
    for piece in range(p, p_end):
        if pieces[piece, 6] != 0:
            u, place = pieces[piece, 0], first_local(column, pieces, piece, layers, level)
            for q in range(layers[level, 6]):
                Y[lost, place + q] += delta[b, slot, u - layers[level, 1]] * D[b, slot, u, local_q[level, q]]


@jit_inline
def move(to, a, source, c, w):
    """to[a : a + w] = source[c : c + w]."""
    for j in range(w):
        to[a + j] = source[c + j]


@jit
def advance(
    lo, hi, start, steps, first_tile, last_tile, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr,
    in_source, in_at, in_fed, local_q, tile, piece_ptr, pieces, span, whole, unit, row, position, theta, x, y, A, B, C,
    phi, D, told, delta, pressed, force, force_q, M, scale, gradient, tiny, gain, need, leaks, due, begin, link_ptr,
    link_mid, link_source, link_coef, Y, shown, fresh, done, list_source, list_coef, count,
):  # fmt: skip
    """Carry M of streams lo..hi-1 through slots start + 1..start + steps; add the gradient of losses told on the way.

    Of tiles first_tile..last_tile - 1 alone. told[b, t]: whether a loss was given at slot t; delta[b, t, i]: its
    derivative to the event of top unit i. pressed, force, force_q: as `evsim.pressure` has them. gradient[b]: sums over
    the columns of M. scale[b]: what the rows of each unit in each tile are still to be multiplied by, 0 where they hold
    nothing; a factor smaller than `tiny` is 0. The rest is scratch of one thread.
    """
    levels, line = layers.shape[0], 64 // M.itemsize
    last = levels - 1
    links = gain, need, leaks, link_ptr, link_mid, link_source, link_coef, list_source, list_coef
    for b in range(lo, hi):
        held, waiting = M[b], scale[b]
        link(
            b, start, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed,
            theta, A, B, phi, pressed, force, gain, need, leaks, due, begin, link_ptr, link_mid, link_source, link_coef,
        )  # fmt: skip
        if first_tile == 0:  # where tiles are shared out, each thread makes the same list
            count_links(steps, layers, layer_of, link_ptr, link_mid, count)
        some_loss = False
        for t in range(1, steps + 1):
            some_loss = some_loss or told[b, start + t] or pressed[b, start + t]
        for i in range(first_tile, last_tile):
            which, column, w = tile[i, 0], tile[i, 1], tile[i, 2]
            first_row, flag, home = tile[i, 3], tile[i, 4], tile[i, 5]
            p, p_end = piece_ptr[i], piece_ptr[i + 1]
            wide = (w + line - 1) // line * line  # whole cache lines: what pads a row is 0 and stays 0
            top = span[which, home]
            prev, now, lost = 0, span[which, levels] - top, Y.shape[0] - 1
            complete = recall(
                start, b, held, waiting, Y, shown, gain, phi, D, column, wide, first_row, flag, home, top,
                span[which, levels], unit, row, layer_of, layers, pieces, p, p_end, local_q, position, which,
            )  # fmt: skip
            columns = pieces, column, layers, in_fed, rec_fed, local_q, in_source, rec_source, y, B, C
            flag -= top
            if some_loss:
                move(Y[lost], 0, gradient[b], column, w)
            for t in range(1, steps + 1):
                slot, missing = start + t, 0
                for level in range(home, levels):
                    states, memory = layers[level, 0], layers[level, 2] != 0
                    heard = (t < steps and layers[level, 4] > 0) or level < last  # is Y of this layer to be read
                    passing = t < steps and not memory and states == 1  # M's rows would be forgotten before being read
                    target, at = (Y, now) if passing else (held, first_row)
                    below = x if level == 0 else y
                    done[:] = 0
                    if complete and missing == 0 and whole[which] and states == 1:
                        missing += carry_rows(
                            t, target, first_row, Y, prev, now, shown, fresh, waiting, flag, top, span[which, level],
                            span[which, level + 1], unit, row, gain, leaks, due, begin[t, level], begin[t, level + 1],
                            link_ptr, link_mid, link_source, link_coef, level == home, memory, passing, heard, wide,
                            tiny, done,
                        )  # fmt: skip
                    else:
                        missing += carry_listed(
                            t, target, first_row, Y, prev, now, shown, fresh, waiting, flag, top, span[which, level],
                            span[which, level + 1], unit, row, links, level == home, memory, passing, heard, wide, tiny,
                            done, which, position, states, b, slot, A, phi,
                        )  # fmt: skip
                    if level == home:
                        missing -= carry_own(
                            t, target, first_row, Y, now, shown, fresh, waiting, flag, row, top, gain, need, memory,
                            passing, heard, wide, done, which, position, states, b, slot, p, p_end, columns, level,
                            below, phi,
                        )  # fmt: skip
                    if told[b, slot] and level == last:
                        read = add_loss(
                            b, slot, delta[b, slot], layers[level, 1], target, at, waiting, flag, top,
                            span[which, level], span[which, level + 1], unit, row, states, passing, phi, list_source,
                            list_coef[0], Y, lost, wide,
                        )  # fmt: skip
                        if level == home:
                            add_local_loss(
                                b, slot, delta, Y, lost, column, D, p, p_end, pieces, level, layers, local_q
                            )  # fmt: skip
                        count[level, GRADIENT] += read * w
                        count[level, READ] += read * w
                        count[level, GRADIENTS] += w if read > 0 else 0
                    if pressed[b, slot]:
                        read = add_force(
                            b, slot, force, target, at, waiting, flag, top, span[which, level], span[which, level + 1],
                            unit, row, states, passing, list_source, list_coef[0], Y, lost, wide,
                        )  # fmt: skip
                        if level == home:
                            add_local_force(
                                b, slot, force_q, Y, lost, column, p, p_end, pieces, level, layers, local_q
                            )  # fmt: skip
                        count[level, GRADIENT] += read * w
                        count[level, READ] += read * w
                        count[level, GRADIENTS] += w if read > 0 else 0
                    if level == home:
                        show_own(
                            Y, now, shown, gain[t], D, b, slot, column, pieces, p, p_end, layers, level, local_q,
                            position, which,
                        )  # fmt: skip
                    if not ((layers[level, 4] > 0 or level < last) and (memory or states > 1)):
                        done[KEPT] = done[SHOWN] = 0  # nobody hears them, or they stand in Y already
                    count[level, LEAK] += done[LEAKS] * w
                    count[level, PROPAGATE] += done[EDGES] * w
                    count[level, IMMEDIATE] += done[ADDED]
                    count[level, ROWS] += done[WRITTEN]
                    count[level, SHOW] += done[SHOWN] * w
                    count[level, ONES_INFLUENCE] += done[ONES]
                    count[level, STEP_READ] += done[ADDED]
                    count[level, WORDS_READ] += (done[LEAKS] + done[EDGES] + done[SHOWN]) * w + done[ADDED]
                    count[level, WORDS_WRITTEN] += (done[WRITTEN] + done[KEPT]) * w + done[ADDED]
                complete = missing == 0
                prev, now = now, prev
            if some_loss:
                move(gradient[b], column, Y[lost], 0, w)


@jit
def contract(
    lo, hi, slot, layers, local_q, tile, piece_ptr, pieces, span, unit, row, phi, D, delta, M, scale, gradient, Y,
    list_source, list_coef, count,
):  # fmt: skip
    """Add to the gradient a loss told after the step of `slot`: M as it stands, read through that slot's events."""
    level, lost = layers.shape[0] - 1, Y.shape[0] - 1
    for b in range(lo, hi):
        for i in range(tile.shape[0]):
            which, column, w, home = tile[i, 0], tile[i, 1], tile[i, 2], tile[i, 5]
            top = span[which, home]
            move(Y[lost], 0, gradient[b], column, w)
            read = add_loss(
                b, slot, delta[b, slot], layers[level, 1], M[b], tile[i, 3], scale[b], tile[i, 4] - top, top,
                span[which, level], span[which, level + 1], unit, row, layers[level, 0], False, phi, list_source,
                list_coef[0], Y, lost, w,
            )  # fmt: skip
            if home == level:
                add_local_loss(
                    b, slot, delta, Y, lost, column, D, piece_ptr[i], piece_ptr[i + 1], pieces, level, layers, local_q
                )
            move(gradient[b], column, Y[lost], 0, w)
            count[level, READ] += read * w
            count[level, GRADIENTS] += w if read > 0 else 0
            count[level, GRADIENT] += read * w
