"""The influence matrix M = d(state)/d(parameters): its kernels. Advancing it is the cost of exact online learning.

For every unit i with states s_i, over the columns that can reach it (`evsim.tiles`),

    M_i <- A_i M_i + B_i (W_rec Y(t-1) + W_in Y_below(t)) + own inputs + C_i          Y_i = phi_i M_i + D_i

Rows of Y are read only for units with phi != 0; rows of M that nothing has reached yet are not touched; rows of a
memory-less unit with phi = 0 are not computed. All of that is exact: what is skipped is zero, or is never read.

A row of Y is kept as M's own row, to be multiplied by a gain of phi, where the unit has one state; as Y with a gain
of 1 where it has more. Columns of `layers`: states, first unit, memory, fed input and recurrent channels, channels,
trained local parameters.
"""

from evsim.jit import jit, jit_inline
from evsim.opcount import GRADIENT, IMMEDIATE, LEAK, PROPAGATE, ROWS, WORDS_READ, WORDS_WRITTEN


@jit
def gain_of(phi, b, t, u, states):
    """0 if unit u is silent to derivatives at slot t, else the factor between its kept row and Y."""
    if states == 1:
        return phi[b, t, u, 0]
    for k in range(states):
        if phi[b, t, u, k] != 0:
            return phi.dtype.type(1)
    return phi.dtype.type(0)


@jit
def link(
    b, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, theta, B,
    phi, gain, ptr, mid, source, coef,
):  # fmt: skip
    """List, for slots 1..steps, every edge along which influence flows, with its coefficient per target state.

    gain[t, u]: as gain_of, slot 0 included. coef[t, e, k] = gain(source) * sum over channels g of B[k, g] * weight[g].
    ptr[t, u]..mid[t, u]: recurrent edges of unit u whose source spoke a step ago; mid[t, u]..ptr[t, u + 1]: edges from
    the layer below, of the same step. Targets that need no row have no edges.
    """
    units = layer_of.shape[0]
    for t in range(steps + 1):
        for u in range(units):
            gain[t, u] = gain_of(phi, b, t, u, layers[layer_of[u], 0])
    for t in range(1, steps + 1):
        e = 0
        for u in range(units):
            ptr[t, u] = e
            level = layer_of[u]
            wanted = layers[level, 2] != 0 or gain[t, u] != 0
            if wanted:
                for r in range(rec_ptr[u], rec_ptr[u + 1]):
                    factor = gain[t - 1, rec_source[r]]
                    if factor != 0:
                        source[t, e] = rec_source[r]
                        for k in range(layers[level, 0]):
                            total = 0 * factor
                            for g in range(layers[level, 4]):
                                total += B[b, t, u, k, rec_fed[level, g]] * theta[rec_at[r] + g]
                            coef[t, e, k] = total * factor
                        e += 1
            mid[t, u] = e
            if wanted and level > 0:
                for r in range(in_ptr[u], in_ptr[u + 1]):
                    factor = gain[t, in_source[r]]
                    if factor != 0:
                        source[t, e] = in_source[r]
                        for k in range(layers[level, 0]):
                            total = 0 * factor
                            for g in range(layers[level, 3]):
                                total += B[b, t, u, k, in_fed[level, g]] * theta[in_at[r] + g]
                            coef[t, e, k] = total * factor
                        e += 1
        ptr[t, units] = e


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
def mix_rows(M, to, w, states, A, b, t, u, before):
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
def show_locals(Y, at, gain, D, b, t, u, column, pieces, p, p_end, layers, level, local_q):
    """Add D of a unit's own trained local parameters to its kept row of Y, divided by the gain to come."""
    for piece in range(p, p_end):
        if pieces[piece, 6] != 0:
            place = pieces[piece, 1] - column + layers[level, 5]
            place += layers[level, 3] * (pieces[piece, 3] - pieces[piece, 2])
            place += layers[level, 4] * (pieces[piece, 5] - pieces[piece, 4])
            for q in range(layers[level, 6]):
                Y[at, place + q] += D[b, t, u, local_q[level, q]] / gain


@jit
def add_loss(gradient, b, column, w, factor, Y, at):
    """gradient[b, column:column + w] += factor * Y[at]."""
    dst, src = gradient[b, column : column + w], Y[at]
    for j in range(w):
        dst[j] += factor * src[j]


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


@jit_inline
def add_own(
    M, to, states, column, pieces, piece, b, t, u, layers, level, in_fed, rec_fed, local_q, heard, in_source,
    rec_source, y, B, C,
):  # fmt: skip
    """Add a unit's own inputs, biases and local parameters to its rows; returns the additions done."""
    done = 0
    fed_in, fed_rec, channels, trained = layers[level, 3], layers[level, 4], layers[level, 5], layers[level, 6]
    at = pieces[piece, 1] - column
    for e in range(pieces[piece, 2], pieces[piece, 3]):
        v = heard[b, t, in_source[e]]
        if v != 0:
            for k in range(states):
                for g in range(fed_in):
                    M[b, to + k, at + g] += B[b, t, u, k, in_fed[level, g]] * v
            done += states * fed_in
        at += fed_in
    for e in range(pieces[piece, 4], pieces[piece, 5]):
        v = y[b, t - 1, rec_source[e]]
        if v != 0:
            for k in range(states):
                for g in range(fed_rec):
                    M[b, to + k, at + g] += B[b, t, u, k, rec_fed[level, g]] * v
            done += states * fed_rec
        at += fed_rec
    if pieces[piece, 6] != 0:
        for k in range(states):
            for g in range(channels):
                M[b, to + k, at + g] += B[b, t, u, k, g]
            for q in range(trained):
                M[b, to + k, at + channels + q] += C[b, t, u, k, local_q[level, q]]
        done += states * (channels + trained)
    return done


@jit
def advance(
    lo, hi, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed,
    local_q, tile, piece_ptr, pieces, span, whole, unit, row, position, theta, x, y, A, B, C, phi, D, told, delta,
    M, live, gradient, gain, link_ptr, link_mid, link_source, link_coef, Y, shown, list_source, list_coef, before,
    count,
):  # fmt: skip
    """Carry M of streams lo..hi-1 through slots 1..steps and add the gradient of the losses told on the way.

    told[b, t]: whether a loss was given at slot t; delta[b, t, i]: its derivative to the event of top unit i.
    gradient[b]: sums over the columns of M. live[b]: which rows hold anything. The rest is scratch of one thread.
    """
    levels = layers.shape[0]
    one = theta.dtype.type(1)
    for b in range(lo, hi):
        link(
            b, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed,
            theta, B, phi, gain, link_ptr, link_mid, link_source, link_coef,
        )  # fmt: skip
        for i in range(tile.shape[0]):
            which, column, w = tile[i, 0], tile[i, 1], tile[i, 2]
            first_row, flag, home = tile[i, 3], tile[i, 4], tile[i, 5]
            start = span[which, home]
            first = unit[start]
            prev, now = 0, span[which, levels] - start
            complete = False  # every unit that spoke a step ago has a row in this tile
            for t in range(steps + 1):
                filled = True
                p_end = piece_ptr[i]
                for level in range(home, levels):
                    states, memory = layers[level, 0], layers[level, 2] != 0
                    leak, propagate, immediate, losses, rows = 0, 0, 0, 0, 0
                    for r in range(span[which, level], span[which, level + 1]):
                        u = unit[r]
                        to = first_row + row[r]
                        at = now + r - start
                        g = gain[t, u]
                        p = p_end
                        if level == home:
                            while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                                p_end += 1
                        shown[at] = False
                        if t > 0:
                            if not memory:
                                live[b, flag + r - start] = False
                                if g == 0:
                                    continue
                            e, mid, end = link_ptr[t, u], link_mid[t, u], link_ptr[t, u + 1]
                            if level == home:
                                end = mid  # the layer below is not in this tile
                            direct = complete and filled
                            n = end - e
                            if not direct:
                                n = gather(
                                    link_source, link_coef, t, e, mid, states, position, which, prev, shown,
                                    list_source, list_coef, 0,
                                )  # fmt: skip
                                n = gather(
                                    link_source, link_coef, t, mid, end, states, position, which, now, shown,
                                    list_source, list_coef, n,
                                )  # fmt: skip
                            a = one
                            if live[b, flag + r - start]:
                                if states == 1:
                                    a = A[b, t, u, 0, 0]
                                    leak += 1
                                else:
                                    leak += mix_rows(M, to, w, states, A, b, t, u, before)
                            elif n > 0 or p_end > p:
                                live[b, flag + r - start] = True
                                for k in range(states):
                                    for j in range(w):
                                        M[b, to + k, j] = 0
                            else:
                                filled = filled and g == 0
                                continue
                            rows += states
                            propagate += states * n
                            for k in range(states):
                                if direct:
                                    base = prev - first
                                    advance_row(M, b, to + k, w, a, Y, base, link_source, link_coef, t, e, mid, k)
                                    base = now - first
                                    advance_row(M, b, to + k, w, one, Y, base, link_source, link_coef, t, mid, end, k)
                                else:
                                    advance_row(M, b, to + k, w, a, Y, 0, list_source, list_coef, 0, 0, n, k)
                            for piece in range(p, p_end):
                                if level == 0:
                                    immediate += add_own(
                                        M, to, states, column, pieces, piece, b, t, u, layers, level, in_fed,
                                        rec_fed, local_q, x, in_source, rec_source, y, B, C,
                                    )  # fmt: skip
                                else:
                                    immediate += add_own(
                                        M, to, states, column, pieces, piece, b, t, u, layers, level, in_fed,
                                        rec_fed, local_q, y, in_source, rec_source, y, B, C,
                                    )  # fmt: skip
                        if g != 0:
                            if not live[b, flag + r - start]:
                                filled = False
                                continue
                            losing = t > 0 and told[b, t] and level == levels - 1
                            if t == steps and level == levels - 1 and not losing:
                                continue  # nobody reads this row of Y
                            shown[at] = True
                            show(Y, at, M, to, w, states, phi, b, t, u)
                            if p_end > p:
                                show_locals(Y, at, g, D, b, t, u, column, pieces, p, p_end, layers, level, local_q)
                            if losing and delta[b, t, u - layers[level, 1]] != 0:
                                add_loss(gradient, b, column, w, delta[b, t, u - layers[level, 1]] * g, Y, at)
                                losses += 1
                    count[level, LEAK] += leak * w
                    count[level, PROPAGATE] += propagate * w
                    count[level, IMMEDIATE] += immediate
                    count[level, GRADIENT] += losses * w
                    count[level, ROWS] += rows
                    count[level, WORDS_READ] += (leak + propagate) * w
                    count[level, WORDS_WRITTEN] += rows * w
                complete = filled and whole[which]
                prev, now = now, prev


@jit
def contract(
    lo, hi, slot, layers, layer_of, local_q, tile, piece_ptr, pieces, span, unit, row, phi, D, delta, M, live,
    gradient, Y, count,
):  # fmt: skip
    """Add to the gradient a loss told after the step of `slot`: M as it stands, read through that slot's events."""
    top = layers.shape[0] - 1
    states = layers[top, 0]
    for b in range(lo, hi):
        for i in range(tile.shape[0]):
            which, column, w = tile[i, 0], tile[i, 1], tile[i, 2]
            first_row, flag, home = tile[i, 3], tile[i, 4], tile[i, 5]
            p_end = piece_ptr[i]
            for r in range(span[which, top], span[which, top + 1]):
                u = unit[r]
                p = p_end
                if home == top:
                    while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                        p_end += 1
                gain = gain_of(phi, b, slot, u, states)
                factor = delta[b, slot, u - layers[top, 1]] * gain
                if factor != 0 and live[b, flag + r - span[which, home]]:
                    show(Y, 0, M, first_row + row[r], w, states, phi, b, slot, u)
                    show_locals(Y, 0, gain, D, b, slot, u, column, pieces, p, p_end, layers, top, local_q)
                    add_loss(gradient, b, column, w, factor, Y, 0)
                    count[top, GRADIENT] += w
