"""Carrier: base of the learners that carry an influence matrix M along, over the columns and rows of a structure."""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np

from evsim.graph import by_target
from evsim.influence import advance, contract
from evsim.jit import bind
from evsim.learner import Learner
from evsim.memory import aligned_zeros, zeros
from evsim.network import check_network
from evsim.structure import pairs
from evsim.tiles import fit_tiles

PIECE = 32  # steps through which a tile of M is carried while it stays in the cache
WORTH = 2**22  # entries of M and steps from which on it pays to give threads their part


class Scratch(NamedTuple):
    """What `evsim.influence.advance` needs of one thread, in the order of its arguments."""

    gain: np.ndarray
    need: np.ndarray
    leaks: np.ndarray
    due: np.ndarray
    begin: np.ndarray
    link_ptr: np.ndarray
    link_mid: np.ndarray
    link_source: np.ndarray
    link_coef: np.ndarray
    Y: np.ndarray
    shown: np.ndarray
    fresh: np.ndarray
    done: np.ndarray
    list_source: np.ndarray
    list_coef: np.ndarray


class Carrier(Learner):
    """Advances M at every step. sets: what `evsim.structure` gives, the rows that each unit's columns have.

    recurrent: does influence pass from unit to unit through recurrent weights.
    """

    def __init__(self, net, loss, streams, threads, sets=None, recurrent=True, quiet=None):
        layout = check_network(net).layout
        self._sets = sets or (layout.set_of_unit, layout.sets)
        self._tiles = fit_tiles(net, *self._sets)
        self._graph = by_target(net)
        self._recurrent = recurrent
        self._tiny = net.dtype.type(np.finfo(net.dtype).tiny)
        if not recurrent:
            self._graph = (*self._graph[:2], np.zeros_like(self._graph[2]), *self._graph[3:])
        tiles = self._tiles
        self._index = (
            tiles.tile, tiles.piece_ptr, tiles.piece, tiles.span, tiles.whole, tiles.unit, tiles.row, tiles.position
        )  # fmt: skip
        super().__init__(net, loss, streams, threads, quiet)

    def structure(self):
        """Boolean CSR array (units, units), bottom layer first: where M holds d(state of i)/d(parameters of k)."""
        return pairs(*self._sets)

    def influence(self, stream=0):
        """M of one stream as a dense array (states, columns), columns in the order of `net.theta`: small networks.

        As it is after the last step; a copy of the learner is closed for it where a block is open.
        """
        self._check_masks()
        if self.keeps and self._open:
            twin = copy.deepcopy(self)
            twin._finish(0, twin.streams, twin._open, 0)
            twin._open = 0
            return twin.influence(stream)
        states = np.array([len(c.states) for c in self.net.stack for _ in range(c.units)])
        first = np.cumsum(states) - states
        dense = zeros((states.sum(), self.net.layout.unit_columns), self.net.dtype)
        tiles = self._tiles
        for which, column, columns, row, flag, home in tiles.tile:
            start, end = tiles.span[which, home], tiles.span[which, -1]
            for r in range(start, end):
                u = tiles.unit[r]
                held = self._scale[stream, flag + r - start]
                if held:
                    at = row + tiles.row[r]
                    block = held * self._M[stream, at : at + states[u], :columns]
                    dense[first[u] : first[u] + states[u], column : column + columns] = block
        return dense

    def reset(self, streams=None):
        super().reset(streams)
        self._scale[:] = 0

    def state(self):
        held = self._M.copy() if self._scale.any() else self._M[:, :0]
        if held.size:
            held[np.repeat(self._scale, self._rows_of_flag, axis=1) == 0] = 0  # nobody reads it, and it may be NaN
        return {**super().state(), "scale": self._scale.copy(), "M": held}

    @property
    def _rows_of_flag(self):
        """How many rows of M each entry of `scale` stands for; both are in the same order."""
        states = np.array([len(c.states) for c in self.net.stack for _ in range(c.units)])
        return np.concatenate([states[self._sets[1][which]] for which in self._tiles.tile[:, 0]])

    def _state_shapes(self, name, array, steps):
        return (array.shape, self._M.shape) if name == "M" else super()._state_shapes(name, array, steps)

    def _load(self, state):
        if state["scale"].any() and not state["M"].size:
            raise ValueError("the learner's state says that rows of M hold something, but M is not there")
        super()._load(state)
        self._scale[:] = state["scale"]
        if state["M"].size:
            self._M[:] = state["M"]

    def _allocate(self, streams, slots):
        self._M = aligned_zeros((streams, self._tiles.rows, self._tiles.width), self.net.dtype)
        self._scale = zeros((streams, self._tiles.flags), self.net.dtype)
        super()._allocate(streams, slots)

    def _bind(self):
        super()._bind()
        f = self._forward
        self._steps = (
            f.x, f.y, f.A, f.B, f.C, f.phi, f.D, self._told, self._delta, f.pressed, f.force, f.force_q, self._M,
            self._scale, self._gradient,
        )  # fmt: skip

    def _engine_memory(self):
        structure = (*self._index, *self._graph, self._scale, self._sets[0], *self._sets[1])
        return {"influence": self._M.nbytes, "structure": sum(a.nbytes for a in structure)}

    def _workspace(self):
        net, tiles = self.net, self._tiles
        units, edges = net.layout.units, self._links
        states = max(len(c.states) for c in net.stack)
        members = int((tiles.span[:, -1] - tiles.span[:, 0]).max())
        influence = Scratch(
            zeros((PIECE + 1, units), net.dtype), zeros((PIECE + 1, units), np.bool_),
            zeros((PIECE + 1, units), net.dtype),
            zeros((PIECE + 1, units), np.int32), zeros((PIECE + 1, len(net.stack) + 1), np.int64),
            zeros((PIECE + 1, units + 1), np.int64), zeros((PIECE + 1, units), np.int64),
            zeros((PIECE + 1, edges), np.int32), zeros((states, PIECE + 1, edges), net.dtype),
            aligned_zeros((2 * members + states + 1, tiles.width), net.dtype), zeros(2 * members, np.bool_),
            zeros(2 * members, np.bool_), zeros(7, np.int64),
            zeros(states * (members + 1), np.int32), zeros((states, states * (members + 1)), net.dtype),
        )  # fmt: skip
        return (*super()._workspace(), influence)

    @property
    def _links(self):
        return max(1, len(self._graph[3]) + sum(len(p.inp.source) for p in self.net.layout.layers[1:]))

    def _learn(self, lo, hi, start, steps, worker):
        self._step_through(lo, hi, start, steps, worker, self._back)

    def _step_through(self, lo, hi, start, steps, worker, theta):
        """Carry M through those slots, and add the gradient of what is told there."""
        for t in range(start, start + steps, PIECE):
            h = min(PIECE, start + steps - t)
            if self.streams == 1 < self.threads and h * self._tiles.entries >= WORTH:
                parts = [self._carry(k, self.threads, k, theta) for k in range(self.threads)]
                self._side_by_side([partial(part, lo, hi, t, h) for part in parts])
            else:
                self._carry(worker, 1, 0, theta)(lo, hi, t, h)

    def _carry(self, worker, parts, part, theta):
        """`advance` on one of so many parts of the tiles, with weights theta, as a function of four numbers."""
        key = worker, parts, part, id(theta)
        if key not in self._calls:
            ends = np.cumsum(np.diff(self._tiles.tile[:, 3], append=self._tiles.rows) * self._tiles.tile[:, 2])
            cuts = [int(np.searchsorted(ends, ends[-1] * k / parts)) for k in range(parts)] + [len(ends)]
            arguments = *self._graph, *self._index, theta, *self._steps, self._tiny
            scratch = *self._spaces[worker][2], self._counts[worker]
            self._calls[key] = bind(advance, (cuts[part], cuts[part + 1], *arguments, *scratch))
        return self._calls[key]

    def _work_of(self, work):
        return work.stepping(self._sets, self._recurrent) + work.extras(self._sets, self._recurrent)

    def _contract(self, slot, worker):
        f, graph, index, scratch = self._forward, self._graph, self._index, self._spaces[worker][2]
        contract(
            0, self.streams, slot, graph[0], graph[10], *index[:4], *index[5:7], f.phi, f.D,
            self._delta, self._M, self._scale, self._gradient, scratch.Y, scratch.list_source, scratch.list_coef,
            self._counts[worker],
        )  # fmt: skip
