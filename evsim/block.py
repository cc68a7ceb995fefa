"""Block: advances the influence matrix over many steps at once, by a sweep for all rows and one matrix product.

    M <- (d state at the end / d state at the start) M + what the block itself adds

The first factor and the sum come from `evsim.lanes`, group by group of end states; the product is numpy's.
"""

import numpy as np

from evsim.lanes import LANES, add_block, carry_back, list_block
from evsim.memory import aligned_zeros
from evsim.opcount import PROPAGATE

HELD = 2**25  # bytes of history that may be held, so that it need not be made twice


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
        self.rows_of_set = [np.concatenate([self.first_state[u] + np.arange(states[u]) for u in s]) for s in self.sets]
        n, k, g = int(states.sum()), int(states.max()), max(len(c.channels) for c in cells)
        local = max(1, max(len(c.local) for c in cells))
        rec = max(1, int(self.back[8][-1]) * k)
        inp = max(1, int(self.back[5][-1] - self.back[5][net.n_in]) * k)
        h = slots + 1
        self.lists = tuple(a for edges in (rec, inp) for a in (
            np.zeros((h, units), np.int32), np.zeros((h, units), np.int32), np.zeros((h, len(cells) + 1), np.int32),
            np.zeros((h, edges), np.int32), np.zeros((h, edges), dtype),
        ))  # fmt: skip
        sources = net.n_in + units
        self.events = (
            np.zeros((sources, h), np.int32), np.zeros((sources, h), dtype), np.zeros(sources, np.int64)
        )  # fmt: skip
        groups = -(-n // LANES)
        group = h * (n + 1) * LANES * dtype.itemsize
        held = max(1, min(groups, HELD // group))
        self.hist = [aligned_zeros((h, n + 1, LANES), dtype) for _ in range(held)]  # one more: no power of two apart
        self.direct = [aligned_zeros((units, local, LANES), dtype) for _ in range(held)]
        self.eta = aligned_zeros((units, LANES), dtype)
        self.waiting = np.zeros(units, np.bool_)
        several = g if k > 1 else 1
        self.unit = (
            np.zeros(h, np.int32), np.zeros(h, dtype), np.zeros((h, g), dtype), np.zeros((h, k, local), dtype),
            np.zeros(h, np.bool_), aligned_zeros((several, h, LANES), dtype), aligned_zeros((tiles.width, LANES), dtype),
        )  # fmt: skip
        self.jacobian = np.zeros((n, n), dtype)
        self.product = np.zeros(max(map(len, self.rows_of_set)) * tiles.width, dtype)
        self.tiny = np.finfo(dtype).tiny

    @property
    def arrays(self):
        """All scratch."""
        return [*self.lists, *self.events, *self.hist, *self.direct, self.eta, self.waiting, *self.unit, self.jacobian,
                self.product]  # fmt: skip

    def read(self, b, steps, theta, forward):
        """List what happened in slots 1..steps of stream b; returns (edges with influence, own inputs)."""
        layers, in_fed, rec_fed, _, n_in, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, _, _ = self.back
        f = forward
        return list_block(
            b, steps, layers, self.first_state, n_in, in_fed, in_ptr, in_target, in_at, rec_fed, rec_ptr, rec_target,
            rec_at, theta, f.B, f.phi, f.x, f.y, *self.lists, *self.events,
        )  # fmt: skip

    def advance(self, b, steps, forward, M, live, count):
        """Carry M of stream b over the slots that `read` has listed."""
        wanted = self.memory | (forward.phi[b, steps] != 0).any(1)
        unit = np.repeat(np.arange(len(wanted)), np.where(wanted, self.states, 0))
        part = np.concatenate([np.arange(k) for k in self.states[wanted]]) if len(unit) else unit
        groups = [slice(r, min(r + LANES, len(unit))) for r in range(0, len(unit), LANES)]
        past = live[b].any()
        if past:
            for k, group in enumerate(groups):
                hist = self._carry_back(k, b, steps, unit[group], part[group], forward, count)
                states = self.first_state[unit[group]] + part[group]
                self.jacobian[states] = hist[0, :-1, : len(states)].T
            self._multiply(b, np.repeat(wanted, self.states), M, live, count)
        else:
            M[b] = 0
        for k, group in enumerate(groups):
            if not past or k >= len(self.hist) - (len(groups) > len(self.hist)):
                self._carry_back(k, b, steps, unit[group], part[group], forward, count)
            self._add(k, b, steps, unit[group], part[group], forward, M, count)
        live[b] = wanted[self.flag_unit]

    def _carry_back(self, k, b, steps, unit, part, forward, count):
        k = min(k, len(self.hist) - 1)
        f, layers, layer_of = forward, self.back[0], self.graph[1]
        states = self.first_state[unit] + part
        carry_back(
            b, steps, len(unit), states, layer_of[unit[-1]], layers, self.first_state, self.back[3], *self.lists,
            f.A, f.phi, f.D, self.tiny, self.hist[k], self.eta, self.waiting, self.direct[k], count,
        )  # fmt: skip
        return self.hist[k]

    def _add(self, k, b, steps, unit, part, forward, M, count):
        k = min(k, len(self.hist) - 1)
        f, tiles = forward, self.tiles
        layers, layer_of, _, rec_source, _, rec_fed, _, in_source, _, in_fed, local_q = self.graph
        *unit_space, columns = self.unit
        add_block(
            b, steps, len(unit), unit, part, layer_of[unit[-1]], layers, layer_of, self.first_state, self.back[4],
            in_source, in_fed, rec_source, rec_fed, local_q, tiles.tile, tiles.piece_ptr, tiles.piece, tiles.span,
            tiles.unit, tiles.row, tiles.position, f.B, f.C, f.phi, self.hist[k], self.direct[k], *self.events,
            *unit_space, columns, M, count,
        )  # fmt: skip

    def _multiply(self, b, wanted, M, live, count):
        """M <- jacobian M, tile by tile; only rows that are wanted, only from rows that hold anything."""
        known, factor = -1, self.jacobian
        for which, _, w, first_row, flag, home in self.tiles.tile:
            members = self.sets[which]
            here = M[b, first_row : first_row + len(self.rows_of_set[which]), :w]
            holds = np.repeat(live[b, flag : flag + len(members)], self.states[members])
            if which != known:
                known, states = which, self.rows_of_set[which]
                factor = self.jacobian[np.ix_(states, states)]
                into, reach = wanted[states], (factor[wanted[states]] != 0).any(0)
            source = holds & reach
            out = self.product[: into.sum() * w].reshape(-1, w)
            if source.all() and into.all():
                np.matmul(factor, here, out=out)
            else:
                np.matmul(factor[np.ix_(into, source)], here[source], out=out)
            here[into] = out
            count[home, PROPAGATE] += out.size * int(source.sum())
