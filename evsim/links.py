"""Links: the edges along which influence flows in a few steps, with what each carries, listed by target.

They are the same for every column of the influence matrix, so they are found once for all tiles.
"""

from evsim.jit import jit, jit_inline
from evsim.opcount import COEFFICIENTS, STEP_READ, WEIGHTS
from evsim.sweep import moves


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
    """coef[k, t, e] = factor * sum over the fed channels g of B[k, g] * weight[g]; B of slot s."""
    for k in range(states):
        total = 0 * factor
        for g in range(channels):
            total += B[b, s, u, k, fed[level, g]] * theta[at + g]
        coef[k, t, e] = total * factor


@jit_inline
def list_edges(
    b, t, s, u, e, lo, hi, spoke, edge_source, at, states, channels, fed, level, gain, theta, B, source, coef,
):  # fmt: skip
    """List those of the edges lo..hi-1 into unit u whose source has a gain in `spoke`; returns the list's length."""
    for r in range(lo, hi):
        factor = gain[spoke, edge_source[r]]
        if factor != 0:
            source[t, e] = edge_source[r]
            weigh(b, t, s, u, e, factor, states, channels, fed, level, at[r], theta, B, coef)
            e += 1
    return e


@jit
def link(
    b, start, steps, layers, layer_of, rec_ptr, rec_source, rec_at, rec_fed, in_ptr, in_source, in_at, in_fed, theta,
    A, B, phi, pressed, force, gain, need, leak, due, begin, ptr, mid, source, coef,
):  # fmt: skip
    """List the edges along which influence flows in slots start + t, t = 1..steps, with a coefficient per target state.

    gain[t, u]: as gain_of, t = 0 included. need[t, u]: must the unit's row be known. leak[t, u]: A of units of one
    state. due[t]: units that need a row, those of layer l from begin[t, l] to begin[t, l + 1]; coef[k, t, e] =
    gain(source) * sum over channels of B[k, g] weight[g]. ptr[t, u]..mid[t, u]: recurrent edges of unit u whose source
    spoke a step ago; mid[t, u]..ptr[t, u + 1]: edges from the layer below, of the same step. Targets that need no row
    have no edges.
    """
    units = layer_of.shape[0]
    for t in range(steps + 1):
        for u in range(units):
            gain[t, u] = gain_of(phi, b, start + t, u, layers[layer_of[u], 0])
    for t in range(1, steps + 1):
        e, listed = 0, 0
        for u in range(units):
            ptr[t, u] = e
            level = layer_of[u]
            states = layers[level, 0]
            if u == layers[level, 1]:
                begin[t, level] = listed
            wanted = layers[level, 2] != 0 or gain[t, u] != 0
            if not wanted and pressed[b, start + t]:
                wanted = moves(force, b, start + t, u, states)
            need[t, u] = wanted
            leak[t, u] = A[b, start + t, u, 0, 0]
            if wanted:
                due[t, listed] = u
                listed += 1
                e = list_edges(
                    b, t, start + t, u, e, rec_ptr[u], rec_ptr[u + 1], t - 1, rec_source, rec_at, states,
                    layers[level, 4], rec_fed, level, gain, theta, B, source, coef,
                )  # fmt: skip
            mid[t, u] = e
            if wanted and level > 0:
                e = list_edges(
                    b, t, start + t, u, e, in_ptr[u], in_ptr[u + 1], t, in_source, in_at, states, layers[level, 3],
                    in_fed, level, gain, theta, B, source, coef,
                )  # fmt: skip
        ptr[t, units] = e
        begin[t, layers.shape[0]] = listed


@jit
def count_links(steps, layers, layer_of, ptr, mid, count):
    """Count what `link` has done: B W over the fed channels, and the gain, for each state of the target of an edge."""
    units = layer_of.shape[0]
    for level in range(layers.shape[0]):
        first, states = layers[level, 1], layers[level, 0]
        end = layers[level + 1, 1] if level + 1 < layers.shape[0] else units
        products, edges = 0, 0
        for t in range(1, steps + 1):
            edges += ptr[t, end] - ptr[t, first]
            recurrent = 0
            for u in range(first, end):
                recurrent += mid[t, u] - ptr[t, u]
            products += recurrent * layers[level, 4] + (ptr[t, end] - ptr[t, first] - recurrent) * layers[level, 3]
        count[level, COEFFICIENTS] += states * (products + edges)
        count[level, WEIGHTS] += states * products
        count[level, STEP_READ] += states * products
