"""The influence matrix M = d(state)/d(parameters): its kernels. Advancing it is the cost of exact online learning.

For every unit i with states s_i, over the columns that can reach it (`evsim.tiles`),

    M_i <- A_i M_i + B_i (W_rec Y(t-1) + W_in Y_below(t)) + own inputs + C_i          Y_i = phi_i M_i + D_i

Rows of Y are read only for units with phi != 0; rows of M that nothing has reached yet are not touched; rows of a
memory-less unit with phi = 0 are not computed. All of that is exact: what is skipped is zero, or is never read.

This file decides which rows are due, and in which order; `evsim.rows` does the arithmetic and explains the names.
"""

from evsim.jit import jit, jit_inline
from evsim.opcount import GRADIENT, IMMEDIATE, LEAK, PROPAGATE, ROWS, WORDS_READ, WORDS_WRITTEN
from evsim.rows import add_loss, add_own, advance_row, mix_rows, show, show_locals


@jit
def gain_of(phi, b, t, u, states):
    """0 if unit u is silent to derivatives at slot t, else the factor between its kept row and Y."""
    if states == 1:
        return phi[b, t, u, 0]
    for k in range(states):
        if phi[b, t, u, k] != 0:
            return phi.dtype.type(1)
    return phi.dtype.type(0)


@jit_inline
def weigh(b, t, s, u, e, factor, states, channels, fed, level, at, theta, B, coef):
    """coef[t, e, k] = factor * sum over the fed channels g of B[k, g] * weight[g]; B of slot s."""
    for k in range(states):
        total = 0 * factor
        for g in range(channels):
            total += B[b, s, u, k, fed[level, g]] * theta[at + g]
        coef[t, e, k] = total * factor


@jit
def link(
    b, start, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, theta,
    B, phi, gain, ptr, mid, source, coef,
):  # fmt: skip
    """List the edges along which influence flows in slots start + t, t = 1..steps, with a coefficient per target state.

    gain[t, u]: as gain_of, t = 0 included. coef[t, e, k] = gain(source) * sum over channels g of B[k, g] * weight[g].
    ptr[t, u]..mid[t, u]: recurrent edges of unit u whose source spoke a step ago; mid[t, u]..ptr[t, u + 1]: edges from
    the layer below, of the same step. Targets that need no row have no edges.
    """
    units = layer_of.shape[0]
    for t in range(steps + 1):
        for u in range(units):
            gain[t, u] = gain_of(phi, b, start + t, u, layers[layer_of[u], 0])
    for t in range(1, steps + 1):
        e = 0
        for u in range(units):
            ptr[t, u] = e
            level = layer_of[u]
            states = layers[level, 0]
            wanted = layers[level, 2] != 0 or gain[t, u] != 0
            if wanted:
                for r in range(rec_ptr[u], rec_ptr[u + 1]):
                    factor = gain[t - 1, rec_source[r]]
                    if factor != 0:
                        source[t, e] = rec_source[r]
                        fed = layers[level, 4]
                        weigh(b, t, start + t, u, e, factor, states, fed, rec_fed, level, rec_at[r], theta, B, coef)
                        e += 1
            mid[t, u] = e
            if wanted and level > 0:
                for r in range(in_ptr[u], in_ptr[u + 1]):
                    factor = gain[t, in_source[r]]
                    if factor != 0:
                        source[t, e] = in_source[r]
                        fed = layers[level, 3]
                        weigh(b, t, start + t, u, e, factor, states, fed, in_fed, level, in_at[r], theta, B, coef)
                        e += 1
        ptr[t, units] = e


@jit
def recall(
    b, slot, M, live, Y, shown, gain, phi, D, column, w, first_row, flag, home, start, end, unit, row, layer_of,
    layers, pieces, p, p_end, local_q, position, which,
):  # fmt: skip
    """Keep the rows of Y that the step in `slot` has left in a tile; True if none of them is missing."""
    filled = True
    for r in range(start, end):
        u = unit[r]
        shown[r - start] = False
        if gain[0, u] != 0 and layers[layer_of[u], 4] > 0:
            if live[b, flag + r - start]:
                shown[r - start] = True
                show(Y, r - start, M, first_row + row[r], w, layers[layer_of[u], 0], phi, b, slot, u)
            else:
                filled = False
    for piece in range(p, p_end):
        u = pieces[piece, 0]
        at = position[which, u]
        if shown[at]:
            show_locals(Y, at, gain[0, u], D, b, slot, u, column, pieces, piece, layers, home, local_q)
    return filled


@jit_inline
def gather(source, coef, t, e, end, states, position, which, base, shown, list_source, list_coef, n):
    """List those of the edges e..end-1 whose source holds a row in this tile; returns the length of the list."""
    for edge in range(e, end):
        v = position[which, source[t, edge]]
        if v >= 0 and shown[base + v]:
            list_source[0, n] = base + v
            for k in range(states):
                list_coef[0, n, k] = coef[t, edge, k]
            n += 1
    return n


@jit
def advance(
    lo, hi, start, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed,
    local_q, tile, piece_ptr, pieces, span, whole, unit, row, position, theta, x, y, A, B, C, phi, D, told, delta,
    M, live, gradient, gain, link_ptr, link_mid, link_source, link_coef, Y, shown, list_source, list_coef, before,
    count,
):  # fmt: skip
    """Carry M of streams lo..hi-1 through slots start + 1..start + steps; add the gradient of losses told on the way.

    told[b, t]: whether a loss was given at slot t; delta[b, t, i]: its derivative to the event of top unit i.
    gradient[b]: sums over the columns of M. live[b]: which rows hold anything. The rest is scratch of one thread.
    """
    levels = layers.shape[0]
    one = theta.dtype.type(1)
    for b in range(lo, hi):
        link(
            b, start, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed,
            theta, B, phi, gain, link_ptr, link_mid, link_source, link_coef,
        )  # fmt: skip
        for i in range(tile.shape[0]):
            which, column, w = tile[i, 0], tile[i, 1], tile[i, 2]
            first_row, flag, home = tile[i, 3], tile[i, 4], tile[i, 5]
            top = span[which, home]
            first = unit[top]
            prev, now = 0, span[which, levels] - top
            complete = recall(
                b, start, M, live, Y, shown, gain, phi, D, column, w, first_row, flag, home, top, span[which, levels],
                unit, row, layer_of, layers, pieces, piece_ptr[i], piece_ptr[i + 1], local_q, position, which,
            )  # fmt: skip
            for t in range(1, steps + 1):
                slot = start + t
                direct = complete and whole[which]  # all that spoke a step ago have a row, in their own order
                filled = True
                p_end = piece_ptr[i]
                for level in range(home, levels):
                    states, memory = layers[level, 0], layers[level, 2] != 0
                    leak, propagate, immediate, losses, rows = 0, 0, 0, 0, 0
                    for r in range(span[which, level], span[which, level + 1]):
                        u = unit[r]
                        to = first_row + row[r]
                        at = now + r - top
                        g = gain[t, u]
                        p = p_end
                        if level == home:
                            while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                                p_end += 1
                        shown[at] = False
                        if not memory:
                            live[b, flag + r - top] = False
                            if g == 0:
                                continue
                        e, mid, end = link_ptr[t, u], link_mid[t, u], link_ptr[t, u + 1]
                        if level == home:
                            end = mid  # the layer below is not in this tile
                        straight = direct and end == mid
                        n = end - e
                        if not straight:
                            n = gather(
                                link_source, link_coef, t, e, mid, states, position, which, prev, shown,
                                list_source, list_coef, 0,
                            )  # fmt: skip
                            n = gather(
                                link_source, link_coef, t, mid, end, states, position, which, now, shown,
                                list_source, list_coef, n,
                            )  # fmt: skip
                        a = one
                        if live[b, flag + r - top]:
                            if states == 1:
                                a = A[b, slot, u, 0, 0]
                                leak += 1
                            else:
                                leak += mix_rows(M, b, to, w, states, A, slot, u, before)
                        elif n > 0 or p_end > p:
                            live[b, flag + r - top] = True
                            for k in range(states):
                                for j in range(w):
                                    M[b, to + k, j] = 0
                        else:
                            filled = filled and g == 0
                            continue
                        rows += states
                        propagate += states * n
                        for k in range(states):
                            if straight:
                                advance_row(M, b, to + k, w, a, Y, prev - first, link_source, link_coef, t, e, end, k)
                            else:
                                advance_row(M, b, to + k, w, a, Y, 0, list_source, list_coef, 0, 0, n, k)
                        for piece in range(p, p_end):
                            if level == 0:
                                immediate += add_own(
                                    M, to, states, column, pieces, piece, b, slot, u, layers, level, in_fed, rec_fed,
                                    local_q, x, in_source, rec_source, y, B, C,
                                )  # fmt: skip
                            else:
                                immediate += add_own(
                                    M, to, states, column, pieces, piece, b, slot, u, layers, level, in_fed, rec_fed,
                                    local_q, y, in_source, rec_source, y, B, C,
                                )  # fmt: skip
                        if g == 0:
                            continue
                        if told[b, slot] and level == levels - 1:
                            error = delta[b, slot, u - layers[level, 1]]
                            if error != 0:
                                losses += add_loss(
                                    gradient, b, slot, u, error, column, w, M, to, states, phi, D,
                                    pieces, p, p_end, layers, level, local_q,
                                )  # fmt: skip
                        if (t < steps and layers[level, 4] > 0) or level < levels - 1:  # somebody is going to read it
                            shown[at] = True
                            show(Y, at, M, to, w, states, phi, b, slot, u)
                            for piece in range(p, p_end):
                                show_locals(Y, at, g, D, b, slot, u, column, pieces, piece, layers, level, local_q)
                    count[level, LEAK] += leak * w
                    count[level, PROPAGATE] += propagate * w
                    count[level, IMMEDIATE] += immediate
                    count[level, GRADIENT] += losses * w
                    count[level, ROWS] += rows
                    count[level, WORDS_READ] += (leak + propagate) * w
                    count[level, WORDS_WRITTEN] += rows * w
                complete = filled
                prev, now = now, prev


@jit
def contract(
    lo, hi, slot, layers, local_q, tile, piece_ptr, pieces, span, unit, row, phi, D, delta, M, live, gradient, count,
):  # fmt: skip
    """Add to the gradient a loss told after the step of `slot`: M as it stands, read through that slot's events."""
    top = layers.shape[0] - 1
    for b in range(lo, hi):
        for i in range(tile.shape[0]):
            which, column, w, home = tile[i, 0], tile[i, 1], tile[i, 2], tile[i, 5]
            p_end = piece_ptr[i]
            for r in range(span[which, top], span[which, top + 1]):
                u = unit[r]
                p = p_end
                if home == top:
                    while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                        p_end += 1
                error = delta[b, slot, u - layers[top, 1]]
                if error != 0 and live[b, tile[i, 4] + r - span[which, home]]:
                    done = add_loss(
                        gradient, b, slot, u, error, column, w, M, tile[i, 3] + row[r], layers[top, 0], phi, D,
                        pieces, p, p_end, layers, top, local_q,
                    )  # fmt: skip
                    count[top, GRADIENT] += done * w
