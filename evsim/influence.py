"""The influence matrix M = d(state)/d(parameters): its kernels. Advancing it is the whole cost of exact online learning.

For every unit i with states s_i, over the columns that can reach it (`evsim.tiles`),

    M_i <- A_i M_i + B_i (W_rec Y(t-1) + W_in Y_below(t)) + own inputs + C_i          Y_i = phi_i M_i + D_i

Rows of Y are read only for units with phi != 0; rows of M that nothing has reached yet are not touched; rows of a
memory-less unit with phi = 0 are not computed. All of that is exact: what is skipped is zero, or is never read.
"""

from evsim.jit import jit
from evsim.opcount import GRADIENT, IMMEDIATE, LEAK, PROPAGATE, ROWS, WORDS_READ, WORDS_WRITTEN


@jit
def speaks(phi, k_states):
    """True if any of a unit's d(event)/d(state) is not zero."""
    for k in range(k_states):
        if phi[k] != 0:
            return True
    return False


@jit
def gain_of(phi, k_states):
    """Factor between a unit's stored row of Y and Y itself: phi where there is one state (the row is M's), else 1."""
    if k_states == 1:
        return phi[0]
    return phi.dtype.type(1)


@jit
def link(b, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, theta, B, phi, ptr, mid, source, coef):  # fmt: skip
    """List, for slots 1..steps, every edge along which influence flows, with its coefficient per target state.

    coef[t, e, k] = sum over channels g of B[k, g] * weight[g] * gain(source). ptr[t, u]..mid[t, u]: recurrent edges of
    unit u whose source spoke a step ago; mid[t, u]..ptr[t, u + 1]: edges from the layer below, of the same step.
    """
    units = layer_of.shape[0]
    for t in range(1, steps + 1):
        e = 0
        for u in range(units):
            ptr[t, u] = e
            level = layer_of[u]
            states = layers[level, 0]
            wanted = layers[level, 2] != 0 or speaks(phi[b, t, u], states)
            if wanted:
                for r in range(rec_ptr[u], rec_ptr[u + 1]):
                    v = rec_source[r]
                    gain = gain_of(phi[b, t - 1, v], states)
                    if speaks(phi[b, t - 1, v], states):
                        source[t, e] = v
                        for k in range(states):
                            total = 0.0 * gain
                            for g in range(layers[level, 4]):
                                total += B[b, t, u, k, rec_fed[level, g]] * theta[rec_at[r] + g]
                            coef[t, e, k] = total * gain
                        e += 1
            mid[t, u] = e
            if wanted and level > 0:
                below = layers[level - 1, 0]
                for r in range(in_ptr[u], in_ptr[u + 1]):
                    v = in_source[r]
                    gain = gain_of(phi[b, t, v], below)
                    if speaks(phi[b, t, v], below):
                        source[t, e] = v
                        for k in range(states):
                            total = 0.0 * gain
                            for g in range(layers[level, 3]):
                                total += B[b, t, u, k, in_fed[level, g]] * theta[in_at[r] + g]
                            coef[t, e, k] = total * gain
                        e += 1
        ptr[t, units] = e


@jit
def add_rows(M, to, w, Y, rows, edges, n, coef, k):
    """M[to:to + w] += sum over the n listed edges of coef[edge, k] * Y[row:row + w], four at a time."""
    dst = M[to : to + w]
    e = 0
    while e + 4 <= n:
        c0, c1, c2, c3 = coef[edges[e], k], coef[edges[e + 1], k], coef[edges[e + 2], k], coef[edges[e + 3], k]
        y0, y1 = Y[rows[e] : rows[e] + w], Y[rows[e + 1] : rows[e + 1] + w]
        y2, y3 = Y[rows[e + 2] : rows[e + 2] + w], Y[rows[e + 3] : rows[e + 3] + w]
        for j in range(w):
            dst[j] += c0 * y0[j] + c1 * y1[j] + c2 * y2[j] + c3 * y3[j]
        e += 4
    while e < n:
        c0 = coef[edges[e], k]
        y0 = Y[rows[e] : rows[e] + w]
        for j in range(w):
            dst[j] += c0 * y0[j]
        e += 1


@jit
def leak_rows(M, to, w, states, A, before):
    """M_k <- sum over k' of A[k, k'] M_k' for one unit's rows; returns the factors that were not zero."""
    if states == 1:
        factor = A[0, 0]
        dst = M[to : to + w]
        for j in range(w):
            dst[j] *= factor
        return 1 if factor != 0 else 0
    done = 0
    before[: states * w] = M[to : to + states * w]
    for k in range(states):
        dst = M[to + k * w : to + (k + 1) * w]
        dst[:] = 0
        for c in range(states):
            factor = A[k, c]
            if factor != 0:
                done += 1
                src = before[c * w : (c + 1) * w]
                for j in range(w):
                    dst[j] += factor * src[j]
    return done


@jit
def show(Y, at, M, to, w, states, phi, D, column, pieces, p, p_end, layers, level, local_q):
    """Store a unit's row of Y (to be multiplied by gain_of), D of its own trained local parameters included.

    Where there is one state the row is M's, and D is divided by phi: both carry the same pseudo-derivative.
    """
    dst = Y[at : at + w]
    src = M[to : to + w]
    if states == 1:
        dst[:] = src
    else:
        for j in range(w):
            dst[j] = phi[0] * src[j]
        for k in range(1, states):
            if phi[k] != 0:
                src = M[to + k * w : to + (k + 1) * w]
                for j in range(w):
                    dst[j] += phi[k] * src[j]
    gain = gain_of(phi, states)
    for piece in range(p, p_end):
        if pieces[piece, 6] != 0:
            edges_in, edges_rec = pieces[piece, 3] - pieces[piece, 2], pieces[piece, 5] - pieces[piece, 4]
            place = pieces[piece, 1] - column + layers[level, 3] * edges_in + layers[level, 4] * edges_rec
            place += layers[level, 5]
            for q in range(layers[level, 6]):
                dst[place + q] += D[local_q[level, q]] / gain


@jit
def add_own(M, to, w, states, column, piece, b, t, u, layers, level, in_fed, rec_fed, local_q, heard, in_source, rec_source, y, B, C):  # fmt: skip
    """Add a unit's own inputs, biases and local parameters to its rows; returns the additions done."""
    done = 0
    fed_in, fed_rec, channels, trained = layers[level, 3], layers[level, 4], layers[level, 5], layers[level, 6]
    base = to + piece[1] - column
    for e in range(piece[2], piece[3]):
        v = heard[b, t, in_source[e]]
        if v != 0:
            for k in range(states):
                for g in range(fed_in):
                    M[base + k * w + g] += B[b, t, u, k, in_fed[level, g]] * v
            done += states * fed_in
        base += fed_in
    for e in range(piece[4], piece[5]):
        v = y[b, t - 1, rec_source[e]]
        if v != 0:
            for k in range(states):
                for g in range(fed_rec):
                    M[base + k * w + g] += B[b, t, u, k, rec_fed[level, g]] * v
            done += states * fed_rec
        base += fed_rec
    if piece[6] != 0:
        for k in range(states):
            for g in range(channels):
                M[base + k * w + g] += B[b, t, u, k, g]
            for q in range(trained):
                M[base + k * w + channels + q] += C[b, t, u, k, local_q[level, q]]
        done += states * (channels + trained)
    return done


@jit
def advance(lo, hi, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, local_q, tile, piece_ptr, pieces, set_ptr, unit, row, position, theta, x, y, A, B, C, phi, D, told, delta, M, live, gradient, link_ptr, link_mid, link_source, link_coef, Y, shown, rows, edges, before, count):  # fmt: skip
    """Carry M of streams lo..hi-1 through slots 1..steps and add the gradient of the losses told on the way.

    told[b, t]: whether a loss was given at slot t; delta[b, t, i]: its derivative to the event of unit i of the top layer.
    gradient[b]: sums over the columns of M. live[b]: which rows hold anything. The rest is scratch of one thread.
    """
    top = layers.shape[0] - 1
    top_first = layers[top, 1]
    for b in range(lo, hi):
        link(b, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, theta, B, phi, link_ptr, link_mid, link_source, link_coef)  # fmt: skip
        Mb, grad, alive = M[b], gradient[b], live[b]
        for i in range(tile.shape[0]):
            which, column, w, entries, flags = tile[i, 0], tile[i, 1], tile[i, 2], tile[i, 3], tile[i, 4]
            start = set_ptr[which]
            members = set_ptr[which + 1] - start
            place = position[which]
            prev, now = 0, 1
            p_end = piece_ptr[i]
            for r in range(members):
                u = unit[start + r]
                level = layer_of[u]
                states = layers[level, 0]
                p = p_end
                while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                    p_end += 1
                shown[prev, r] = alive[flags + r] != 0 and speaks(phi[b, 0, u], states)
                if shown[prev, r]:
                    to = entries + row[start + r] * w
                    show(Y, (prev * members + r) * w, Mb, to, w, states, phi[b, 0, u], D[b, 0, u], column, pieces, p, p_end, layers, level, local_q)  # fmt: skip
            for t in range(1, steps + 1):
                p_end = piece_ptr[i]
                for r in range(members):
                    u = unit[start + r]
                    level = layer_of[u]
                    states = layers[level, 0]
                    to = entries + row[start + r] * w
                    p = p_end
                    while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                        p_end += 1
                    spoke = speaks(phi[b, t, u], states)
                    shown[now, r] = False
                    if layers[level, 2] == 0:
                        alive[flags + r] = 0
                        if not spoke:
                            continue
                    n = 0
                    for e in range(link_ptr[t, u], link_mid[t, u]):
                        v = place[link_source[t, e]]
                        if v >= 0 and shown[prev, v]:
                            rows[n] = (prev * members + v) * w
                            edges[n] = e
                            n += 1
                    for e in range(link_mid[t, u], link_ptr[t, u + 1]):
                        v = place[link_source[t, e]]
                        if v >= 0 and shown[now, v]:
                            rows[n] = (now * members + v) * w
                            edges[n] = e
                            n += 1
                    if alive[flags + r] != 0:
                        done = leak_rows(Mb, to, w, states, A[b, t, u], before)
                        count[level, LEAK] += done * w
                        count[level, WORDS_READ] += done * w
                    elif n > 0 or p_end > p:
                        alive[flags + r] = 1
                        Mb[to : to + states * w] = 0
                    else:
                        continue
                    count[level, ROWS] += states
                    count[level, WORDS_WRITTEN] += states * w
                    for k in range(states):
                        add_rows(Mb, to + k * w, w, Y, rows, edges, n, link_coef[t], k)
                    count[level, PROPAGATE] += states * n * w
                    count[level, WORDS_READ] += states * n * w
                    for piece in range(p, p_end):
                        heard = x if level == 0 else y
                        count[level, IMMEDIATE] += add_own(Mb, to, w, states, column, pieces[piece], b, t, u, layers, level, in_fed, rec_fed, local_q, heard, in_source, rec_source, y, B, C)  # fmt: skip
                    if spoke:
                        shown[now, r] = True
                        at = (now * members + r) * w
                        show(Y, at, Mb, to, w, states, phi[b, t, u], D[b, t, u], column, pieces, p, p_end, layers, level, local_q)  # fmt: skip
                        if level == top and told[b, t]:
                            factor = delta[b, t, u - top_first] * gain_of(phi[b, t, u], states)
                            if factor != 0:
                                for j in range(w):
                                    grad[column + j] += factor * Y[at + j]
                                count[level, GRADIENT] += w
                prev, now = now, prev


@jit
def contract(lo, hi, slot, layers, layer_of, local_q, tile, piece_ptr, pieces, set_ptr, unit, row, phi, D, delta, M, live, gradient, Y, count):  # fmt: skip
    """Add to the gradient a loss told after the step of `slot`: M as it stands, read through the events of that slot."""
    top = layers.shape[0] - 1
    states = layers[top, 0]
    for b in range(lo, hi):
        for i in range(tile.shape[0]):
            column, w, entries, flags = tile[i, 1], tile[i, 2], tile[i, 3], tile[i, 4]
            p_end = piece_ptr[i]
            for r in range(set_ptr[tile[i, 0]], set_ptr[tile[i, 0] + 1]):
                u = unit[r]
                p = p_end
                while p_end < piece_ptr[i + 1] and pieces[p_end, 0] == u:
                    p_end += 1
                if layer_of[u] != top or live[b, flags + r - set_ptr[tile[i, 0]]] == 0:
                    continue
                factor = delta[b, slot, u - layers[top, 1]] * gain_of(phi[b, slot, u], states)
                if factor != 0 and speaks(phi[b, slot, u], states):
                    show(Y, 0, M[b], entries + row[r] * w, w, states, phi[b, slot, u], D[b, slot, u], column, pieces, p, p_end, layers, top, local_q)  # fmt: skip
                    for j in range(w):
                        gradient[b, column + j] += factor * Y[j]
                    count[top, GRADIENT] += w
