"""RTRL: exact gradients while time runs forward, in memory that does not grow with the sequence."""

import numpy as np

from evsim.check import check_count
from evsim.influence import advance, contract
from evsim.learner import Learner, check_network
from evsim.memory import aligned_zeros
from evsim.structure import pairs
from evsim.tiles import fit_tiles


class RTRL(Learner):
    """Real-time recurrent learning (Williams and Zipser 1989), exact and sparse in activity and in weights.

    Carries M = d(state)/d(parameters) for every stream, with a fixed structure: only rows that a path in the masks can
    reach exist (`structure()`). block=1 advances M at every step.
    """

    kind = "rtrl"
    exact = True
    memory_claim = "O(n P), whatever the sequence's length"
    cost_claim = (
        "K * density * phi-rate * n^2 * P for K states, and n P for each entry of A that is not 0; times phi-rate once "
        "more for units without memory"
    )

    def __init__(self, net, loss="cross_entropy", block=1, streams=1, threads=1):
        if check_count("block", block) != 1:
            raise ValueError(f"block={block} is not available: the influence is advanced at every step, use block=1")
        self.block = block
        check_network(net)
        self._tiles = fit_tiles(net)
        self._graph = _graph(net)
        tiles = self._tiles
        self._index = (
            tiles.tile, tiles.piece_ptr, tiles.piece, tiles.span, tiles.whole, tiles.unit, tiles.row, tiles.position
        )  # fmt: skip
        super().__init__(net, loss, streams, threads)

    def structure(self):
        """Boolean CSR array (units, units), bottom layer first: where M holds d(state of i)/d(parameters of k)."""
        return pairs(self.net.layout.set_of_unit, self.net.layout.sets)

    def influence(self, stream=0):
        """M of one stream as a dense array (states, columns), columns in the order of `net.theta`: small networks."""
        states = np.array([len(c.states) for c in self.net.stack for _ in range(c.units)])
        first = np.cumsum(states) - states
        dense = np.zeros((states.sum(), self.net.layout.unit_columns), self.net.dtype)
        tiles = self._tiles
        for which, column, columns, row, flag, home in tiles.tile:
            start, end = tiles.span[which, home], tiles.span[which, -1]
            for r in range(start, end):
                u = tiles.unit[r]
                if self._live[stream, flag + r - start]:
                    at = row + tiles.row[r]
                    block = self._M[stream, at : at + states[u], :columns]
                    dense[first[u] : first[u] + states[u], column : column + columns] = block
        return dense

    def reset(self, streams=None):
        super().reset(streams)
        self._live[:] = 0

    def state(self):
        held = self._M.copy() if self._live.any() else self._M[:, :0]
        return {**super().state(), "live": self._live.copy(), "M": held}

    def _state_shapes(self, name, array):
        return (array.shape, self._M.shape) if name == "M" else super()._state_shapes(name, array)

    def load_state(self, state):
        if state["live"].any() and not state["M"].size:
            raise ValueError("the learner's state marks rows of M as live, but holds none")
        super().load_state(state)
        self._live[:] = state["live"]
        if state["M"].size:
            self._M[:] = state["M"]

    def config(self):
        return {**super().config(), "block": self.block}

    def _allocate(self, streams):
        super()._allocate(streams)
        self._M = aligned_zeros((streams, self._tiles.rows, self._tiles.width), self.net.dtype)
        self._live = np.zeros((streams, self._tiles.flags), np.bool_)
        f = self._forward
        self._arguments = (
            *self._graph, *self._index, self.net.theta, f.x, f.y, f.A, f.B, f.C, f.phi, f.D,
            self._told, self._delta, self._M, self._live, self._gradient,
        )  # fmt: skip

    def _engine_memory(self):
        structure = (*self._index, *self._graph, self._live)
        return {"influence": self._M.nbytes, "structure": sum(a.nbytes for a in structure)}

    def _workspace(self):
        net, tiles, chunk = self.net, self._tiles, self._chunk
        units, edges, states = net.layout.units, self._links, self._forward.A.shape[3]
        members = int((tiles.span[:, -1] - tiles.span[:, 0]).max())
        influence = (
            np.zeros((chunk + 1, units), net.dtype),
            np.zeros((chunk + 1, units + 1), np.int64), np.zeros((chunk + 1, units), np.int64),
            np.zeros((chunk + 1, edges), np.int32), np.zeros((chunk + 1, edges, states), net.dtype),
            aligned_zeros((2 * members, tiles.width), net.dtype), np.zeros(2 * members, np.bool_),
            np.zeros((1, members), np.int32), np.zeros((1, members, states), net.dtype),
            np.zeros((states, tiles.width), net.dtype),
        )  # fmt: skip
        return (*super()._workspace(), influence)

    @property
    def _links(self):
        return max(1, len(self._graph[3]) + sum(len(p.inp.source) for p in self.net.layout.layers[1:]))

    def _learn(self, lo, hi, steps, space, count):
        advance(lo, hi, steps, *self._arguments, *space[2], count)

    def _contract(self, slot, space, count):
        f, graph, index = self._forward, self._graph, self._index
        contract(
            0, self.streams, slot, graph[0], graph[10], *index[:4], *index[5:7], f.phi, f.D,
            self._delta, self._M, self._live, self._gradient, count,
        )  # fmt: skip


def _graph(net):
    """What the kernels read of the network: a row of numbers per layer (`evsim.influence`), edges by target."""
    cells, places = net.stack, net.layout.layers
    layers = np.array(
        [
            (
                len(c.states), p.first, c.memory, len(c.in_channels), len(c.rec_channels), len(c.channels),
                len(c.trained()),
            )
            for c, p in zip(cells, places, strict=True)
        ],
        np.int64,
    )
    layer_of = np.repeat(np.arange(len(cells)), [c.units for c in cells])
    rec = _join([p.rec for p in places], [p.first for p in places])
    inp = _join([p.inp for p in places], [0, *(p.first for p in places[:-1])])
    local = [[c.local.index(name) for name in c.trained()] for c in cells]
    return (
        layers, layer_of, *rec, _rows([c.rec_channels for c in cells]), *inp, _rows([c.in_channels for c in cells]),
        _rows(local),
    )  # fmt: skip


def _join(edges, first):
    """Edges of all layers in one: ptr, source (numbered over all units; inputs as they are), at."""
    sizes = np.cumsum([0, *(len(e.source) for e in edges)])
    ptr = np.concatenate([[0], *(e.ptr[1:] + s for e, s in zip(edges, sizes, strict=False))])
    source = np.concatenate([e.source + f for e, f in zip(edges, first, strict=True)])
    return ptr.astype(np.int64), source.astype(np.int64), np.concatenate([e.at for e in edges]).astype(np.int64)


def _rows(lists):
    table = np.zeros((len(lists), max(1, max(len(row) for row in lists))), np.int64)
    for k, row in enumerate(lists):
        table[k, : len(row)] = row
    return table
