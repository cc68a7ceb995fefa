"""Carry: one step of one layer, in one tile of the influence matrix: M_i <- A_i M_i + sums of rows of Y.

Either all sources are known to have a row, in their own order, and units have one state: `carry_rows`, which does
nothing but arithmetic. Or rows are looked for: `carry_listed`. Names as in `evsim.rows`; now, prev: where rows of Y of
this step and of the one before begin; done: leaks, edges, rows, own inputs and so on, counted up. Both return how many
rows that somebody is going to read are missing, for nothing has reached them yet.
"""

from evsim.jit import jit, jit_inline
from evsim.rows import add_own, count_entries, count_shown, couple_rows, show, show_locals
from evsim.vector import combine

LEAKS, EDGES, WRITTEN, ADDED, ONES, KEPT, SHOWN = range(7)  # KEPT: rows shown, SHOWN: of M read for them


@jit
def carry_rows(
    t, M, first_row, Y, prev, now, shown, fresh, scale, flag, top, first, last, unit, row, gain, leaks, due, due_lo,
    due_hi, ptr, mid, source, coef, home, memory, passing, heard, wide, tiny, done,
):  # fmt: skip
    """Rows first..last-1 of a layer whose units have one state and follow one another; its sources all have rows.

    due[t, due_lo:due_hi]: those of its units that need a row.
    """
    zero, one = M.dtype.type(0), M.dtype.type(1)
    missing, base, shift = 0, unit[top], first - unit[first]
    for r in range(first, last):
        shown[now + r - top] = False
        fresh[now + r - top] = False
    if not memory and not passing:
        for r in range(first, last):
            scale[flag + r] = zero
    for d in range(due_lo, due_hi):
        u = due[t, d]
        r = u + shift
        at = now + r - top
        g, a = gain[t, u], zero
        if memory:
            a = scale[flag + r] * leaks[t, u]
        e, middle, end = ptr[t, u], mid[t, u], ptr[t, u + 1]
        if home:
            end = middle  # the layer below is not in this tile
        to = at if passing else first_row + row[r]
        if memory and e == end:  # nothing arrives: the leak waits in a factor
            if abs(a) < tiny:
                a = zero
            scale[flag + r] = a
            if a == 0:
                missing += g != 0
                continue
        else:
            fresh[at] = True
            done[LEAKS] += a != 0
            done[EDGES] += end - e
            done[WRITTEN] += 1
            if e < middle or middle == end:
                combine(M, to, a, Y, prev - base, source[t], coef[0, t], e, middle, wide)
                a = one
            if middle < end:
                combine(M, to, a, Y, now - base, source[t], coef[0, t], middle, end, wide)
                a = one
            if not passing:
                scale[flag + r] = one
        if g != 0:
            done[KEPT] += 1
            done[SHOWN] += 1
        if heard and g != 0:
            shown[at] = True
            if not passing:
                for j in range(wide):
                    Y[at, j] = a * M[to, j]
    return missing


@jit_inline
def gather(source, coef, t, e, end, states, position, which, base, shown, list_source, list_coef, n):
    """List those of the edges e..end-1 whose source holds a row in this tile; returns the length of the list."""
    for edge in range(e, end):
        v = position[which, source[t, edge]]
        if v >= 0 and shown[base + v]:
            list_source[n] = base + v
            for k in range(states):
                list_coef[k, n] = coef[k, t, edge]
            n += 1
    return n


@jit_inline
def carry_listed(
    t, M, first_row, Y, prev, now, shown, fresh, scale, flag, top, first, last, unit, row, links, home, memory, passing,
    heard, wide, tiny, done, which, position, states, b, slot, A, phi,
):  # fmt: skip
    """Rows first..last-1 of any layer; of its sources, those that have a row. links: gain and so on, and two lists."""
    gain, need, leaks, ptr, mid, source, coef, list_source, list_coef = links
    zero, one = M.dtype.type(0), M.dtype.type(1)
    missing, spare = 0, 2 * max(prev, now)
    for r in range(first, last):
        u, at = unit[r], now + r - top
        g = gain[t, u]
        shown[at] = fresh[at] = False
        a = zero
        if memory:
            a = scale[flag + r]
        elif not passing:
            scale[flag + r] = zero
        if not need[t, u]:
            continue
        n = gather(
            source, coef, t, ptr[t, u], mid[t, u], states, position, which, prev, shown, list_source, list_coef, 0
        )
        if not home:
            n = gather(
                source, coef, t, mid[t, u], ptr[t, u + 1], states, position, which, now, shown, list_source, list_coef,
                n,
            )  # fmt: skip
        to = at if passing else first_row + row[r]
        if states == 1:
            a *= leaks[t, u]
            if abs(a) < tiny:
                a = zero
        if memory and n == 0 and (a == 0 or states == 1):
            scale[flag + r] = a
            if a == 0:
                missing += g != 0
                continue
        else:
            fresh[at] = True
            coupled = False
            if states == 1:
                done[LEAKS] += a != 0
            elif a != 0:
                done[LEAKS] += count_entries(states, A, b, slot, u)
                coupled = couple_rows(
                    M, to, wide, states, A, b, slot, u, Y, spare, list_source[-states:], list_coef[0, -states:]
                )
            for k in range(states):
                factor = a if states == 1 or a == 0 or coupled else A[b, slot, u, k, k]
                combine(M, to + k, factor, Y, 0, list_source, list_coef[k], 0, n, wide)
            done[EDGES] += states * n
            done[WRITTEN] += states
            a = one
            if not passing:
                scale[flag + r] = one
        if g != 0:
            done[KEPT] += 1
            done[SHOWN] += count_shown(states, phi, b, slot, u)
        if heard and g != 0:
            shown[at] = True
            if not passing:
                show(Y, at, M, to, wide, a, states, phi, b, slot, u)
    return missing


@jit_inline
def carry_own(
    t, M, first_row, Y, now, shown, fresh, scale, flag, row, top, gain, need, memory, passing, heard, wide, done, which,
    position, states, b, slot, p, p_end, columns, level, x, phi,
):  # fmt: skip
    """Own inputs, biases and local parameters of the units whose columns, pieces p..p_end-1, stand in the tile.

    Returns how many rows are no longer missing.
    """
    pieces, column, layers, in_fed, rec_fed, local_q, in_source, rec_source, y, B, C = columns
    zero, one = M.dtype.type(0), M.dtype.type(1)
    found = 0
    while p < p_end:
        u, begin = pieces[p, 0], p
        while p < p_end and pieces[p, 0] == u:
            p += 1
        g, at = gain[t, u], now + position[which, u]
        if not need[t, u]:
            continue
        r = top + position[which, u]
        to = at if passing else first_row + row[r]
        if not fresh[at]:
            a = scale[flag + r] if memory else zero
            for k in range(states):
                for j in range(wide):
                    M[to + k, j] = a * M[to + k, j] if a != 0 else zero
            done[LEAKS] += a != 0
            done[WRITTEN] += states
            if g != 0 and a == 0:
                found += 1
                done[KEPT] += 1
                done[SHOWN] += count_shown(states, phi, b, slot, u)
        if not passing:
            scale[flag + r] = one
        for piece in range(begin, p):
            added, ones = add_own(
                M, to, states, column, pieces, piece, b, slot, u, layers, level, in_fed, rec_fed, local_q, x,
                in_source, rec_source, y, B, C,
            )  # fmt: skip
            done[ADDED] += added
            done[ONES] += ones
        if heard and g != 0:
            shown[at] = True
            if not passing:
                show(Y, at, M, to, wide, one, states, phi, b, slot, u)
    return found


@jit_inline
def show_own(Y, now, shown, gain, D, b, slot, column, pieces, p, p_end, layers, level, local_q, position, which):
    """Add D of units' own local parameters to what is kept of them, in the tile whose columns are pieces p..p_end-1."""
    for piece in range(p, p_end):
        u = pieces[piece, 0]
        at = now + position[which, u]
        if shown[at]:
            show_locals(Y, at, gain[u], D, b, slot, u, column, pieces, piece, layers, level, local_q)
