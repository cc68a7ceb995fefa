"""Block: advances the influence matrix over many steps at once, by a sweep for all rows and one matrix product.

    M <- (d state at the end / d state at the start) M + what the block itself adds

The first factor and the sum come from `evsim.lanes`, group by group of end states; the product is numpy's.
"""

import numpy as np

from evsim.cost import is_held, lanes_of
from evsim.lanes import SQUARE, UNIT, add_block, carry_back
from evsim.listing import list_block
from evsim.memory import aligned_zeros, zeros
from evsim.opcount import PROPAGATE, WORDS_READ, WORDS_WRITTEN

# Derivatives of later states that are smaller count as 0. What is lost by that is as small, and Adam's second moment
# could not hold its square; but a block that outlasts the network's memory then needs no product.
GONE = {4: 2.0**-100, 8: 2.0**-1000}


class Block:
    """What blocks of up to `slots` steps need beside M; one for each thread."""

    def __init__(self, net, tiles, sets, graph, back, slots):
        cells, units, dtype = net.stack, net.layout.units, net.dtype
        self.tiles, self.sets, self.graph, self.back = tiles, sets, graph, back
        states = np.array([len(c.states) for c in cells for _ in range(c.units)])
        self.states = states
        self.first_state = np.cumsum(states) - states
        self.memory = np.array([c.memory for c in cells for _ in range(c.units)])
        self.flag_unit = np.concatenate(
            [tiles.unit[tiles.span[t[0], t[5]] : tiles.span[t[0], -1]] for t in tiles.tile]
        )
        all_states = np.split(np.arange(states.sum()), self.first_state[1:])
        self.rows_of_set = [np.concatenate([all_states[u] for u in s]) for s in self.sets]
        size, k, g = int(states.sum()), int(states.max()), max(len(c.channels) for c in cells)
        local = max(1, max(len(c.local) for c in cells))
        rec = max(1, int(self.back[8][-1]) * k)
        inp = max(1, int(self.back[5][-1] - self.back[5][net.n_in]) * k)
        h = slots + 1
        self.lists = *_edge_lists(h, units, len(cells), rec, dtype), *_edge_lists(h, units, len(cells), inp, dtype)
        self.events = *_event_lists(units, h, dtype), *_event_lists(net.n_in + units, h, dtype)
        self.spread = (
            zeros((units, h, g), dtype), zeros((units, h, k, local), dtype), zeros((units, h), np.bool_)
        )  # fmt: skip
        self.width = lanes = lanes_of(size)
        self.lanes = (0,) * (lanes // UNIT)
        self.groups = -(-size // lanes)
        held = self.groups if is_held(size, slots, dtype.itemsize) else 1
        self.passing = aligned_zeros((2, size + 1, lanes), dtype)
        self.hist = [aligned_zeros((h, size + 1, lanes), dtype) for _ in range(held)]  # one more: no power of two apart
        self.direct = [aligned_zeros((units, local, lanes), dtype) for _ in range(held)]
        self.eta = aligned_zeros((units, lanes), dtype)
        self.waiting = zeros(units, np.bool_)
        wide = -(-tiles.width // SQUARE) * SQUARE + SQUARE  # whole squares; one more: no power of two apart
        self.unit = (
            zeros(h, np.int32), zeros((g, h), dtype), aligned_zeros((g if k > 1 else 1, h, lanes), dtype),
            aligned_zeros((wide, lanes), dtype), aligned_zeros((lanes, wide), dtype),
        )  # fmt: skip
        self.seen = np.cumsum([len(c.states) * c.units for c in cells])  # states of each layer and those below
        self.jacobian = zeros((size, size), dtype)
        self.square = sum(len(self.rows_of_set[t[0]]) ** 2 * int(t[2]) for t in tiles.tile)
        self.product = zeros(max(map(len, self.rows_of_set)) * tiles.width, dtype)
        self.tiny = dtype.type(GONE[dtype.itemsize])

    @property
    def arrays(self):
        """All scratch."""
        return [
            *self.lists, *self.events, *self.spread, *self.hist, self.passing, *self.direct, self.eta, self.waiting,
            *self.unit, self.jacobian, self.product,
        ]  # fmt: skip

    def read(self, b, steps, theta, forward, scale, count):
        """List what happened in slots 1..steps of stream b.

        Returns the multiply-adds that all rows of a sweep, the product, and stepping through the block would take.
        """
        layers, in_fed, rec_fed, _, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, _, _ = self.back
        f = forward
        flows, own = list_block(
            b, steps, layers, self.graph[1], self.first_state, n_in, in_fed, in_ptr, in_target, in_at, rec_fed,
            rec_ptr, rec_target, rec_at, theta, f.B, f.C, f.phi, f.x, f.y, *self.lists, *self.events, *self.spread,
            count,
        )  # fmt: skip
        self.wanted = self.memory | (f.phi[b, steps] != 0).any(1)
        rows, leak = int(self.states[self.wanted].sum()), int((self.memory * self.states**2).sum())
        past = bool(scale[b].any())
        passes = 2 if past and len(self.hist) < self.groups else 1
        sweep = rows * (passes * (flows + steps * leak) + own)
        share = rows / len(self.jacobian)
        columns = self.tiles.entries / len(self.jacobian)  # of a row of M, on average
        return sweep, past * share * share * self.square, columns * (flows + steps * leak) + own

    def advance(self, b, steps, forward, M, scale, count):
        """Carry M of stream b over the slots that `read` has listed."""
        wanted = self.wanted
        unit = np.repeat(np.arange(len(wanted)), np.where(wanted, self.states, 0))
        part = np.concatenate([np.arange(k) for k in self.states[wanted]]) if len(unit) else unit
        groups = [slice(r, min(r + self.width, len(unit))) for r in range(0, len(unit), self.width)]
        past = scale[b].any()
        if past:
            for k, group in enumerate(groups):
                hist = self._hist(k)
                self._carry_back(hist, k, b, steps, unit[group], part[group], forward, count)
                states = self.first_state[unit[group]] + part[group]
                known = self.seen[self.graph[1][unit[group][-1]]]  # layers above have nothing to do with it
                self.jacobian[states, :known] = hist[0, :known, : len(states)].T
                self.jacobian[states, known:] = 0
            self._multiply(b, np.repeat(wanted, self.states), M, scale, count)
        else:
            M[b] = 0
        for k, group in enumerate(groups):
            if not past or self._hist(k) is self.passing:
                self._carry_back(self.hist[k % len(self.hist)], k, b, steps, unit[group], part[group], forward, count)
            self._add(k, b, steps, unit[group], part[group], forward, M, count)
        scale[b] = wanted[self.flag_unit]

    def _hist(self, k):
        """Where group k's history stays until it is added to M, or passes by: it must then be made again."""
        return self.hist[k] if k < len(self.hist) and len(self.hist) == self.groups else self.passing

    def _carry_back(self, hist, k, b, steps, unit, part, forward, count):
        f, layers, layer_of = forward, self.back[0], self.graph[1]
        states = self.first_state[unit] + part
        carry_back(
            self.lanes, b, steps, len(unit), states, layer_of[unit[-1]], layers, self.first_state, self.back[3],
            *self.lists, f.A, f.phi, f.D, self.tiny, hist, self.eta, self.waiting, self.direct[k % len(self.hist)],
            count,
        )  # fmt: skip

    def _add(self, k, b, steps, unit, part, forward, M, count):
        k %= len(self.hist)
        f, tiles = forward, self.tiles
        layers, layer_of, _, rec_source, _, rec_fed, _, in_source, _, in_fed, local_q = self.graph
        add_block(
            self.lanes, b, steps, len(unit), unit, part, layer_of[unit[-1]], layers, self.first_state,
            self.back[4], in_source, in_fed, rec_source, rec_fed, local_q, tiles.tile, tiles.piece_ptr, tiles.piece,
            tiles.span, tiles.row, tiles.position, f.B, self.hist[k], self.direct[k], *self.events,
            *self.spread, *self.unit, M, count,
        )  # fmt: skip

    def _multiply(self, b, wanted, M, scale, count):
        """M <- jacobian M, tile by tile; only rows that are wanted, only from rows that hold anything."""
        known, factor, into, reach = -1, self.jacobian, wanted, wanted
        for which, _, w, first_row, flag, home in self.tiles.tile:
            members = self.sets[which]
            here = M[b, first_row : first_row + len(self.rows_of_set[which]), :w]
            held = np.repeat(scale[b, flag : flag + len(members)], self.states[members])
            if which != known:
                known, states = which, self.rows_of_set[which]
                factor = self.jacobian[np.ix_(states, states)]
                flows = factor[wanted[states]] != 0
                into, reach = np.zeros(len(states), bool), flows.any(0)
                into[wanted[states]] = flows.any(1)
            source = (held != 0) & reach
            for r in np.flatnonzero(source & (held != 1)):
                here[r] *= held[r]
            out = self.product[: into.sum() * w].reshape(-1, w)
            if source.all() and into.all():
                np.matmul(factor, here, out=out)
                here[:] = out
            else:
                np.matmul(factor[np.ix_(into, source)], here[source], out=out)
                here[:] = 0
                here[into] = out
            count[home, PROPAGATE] += out.size * int(source.sum())
            count[home, WORDS_READ] += int(source.sum()) * (int(w) + int(into.sum()))  # each factor once
            count[home, WORDS_WRITTEN] += out.size


def _edge_lists(slots, units, levels, edges, dtype):
    """source, end, begin, state, coef, as `evsim.listing.list_sources` fills them."""
    return (
        zeros((slots, units), np.int32), zeros((slots, units), np.int32), zeros((slots, levels + 1), np.int32),
        zeros((slots, edges), np.int32), zeros((slots, edges), dtype),
    )  # fmt: skip


def _event_lists(sources, slots, dtype):
    """time, value, length, as `evsim.listing.list_events` fills them."""
    return zeros((sources, slots), np.int32), zeros((sources, slots), dtype), zeros(sources, np.int64)
