"""RTRL: exact gradients while time runs forward, in memory that does not grow with the sequence."""

import numpy as np

from evsim.backward import Backward
from evsim.block import Block
from evsim.carrier import PIECE, Carrier
from evsim.check import check_count
from evsim.sweep import read_rows


class RTRL(Carrier):
    """Real-time recurrent learning (Williams and Zipser 1989), exact and sparse in activity and in weights.

    Carries M = d(state)/d(parameters) for every stream, with a fixed structure: only rows that a path in the masks can
    reach exist (`structure()`).

    block: steps between two advances of M. 1 advances it at every step. With more, only the sparse Steps of a block are
    kept; the gradient of losses inside it comes from one backward sweep, and at its end M is advanced at once
    (Schmidhuber 1992; Williams and Zipser 1995): the price falls towards that of backpropagation, memory still does not
    grow. Gradients are exact at any step all the same; a change of weights inside a block closes it first.
    """

    kind = "rtrl"
    exact = True
    memory_claim = "O(n P), whatever the sequence's length"
    cost_claim = (
        "K * density * phi-rate * n^2 * P for K states, and n P for each entry of A that is not 0; times phi-rate once "
        "more for units without memory"
    )
    source = "Williams and Zipser: A learning algorithm for continually running fully recurrent neural networks (1989)"

    def __init__(self, net, loss="cross_entropy", block=1, streams=1, threads=1):
        self.block = check_count("block", block)
        self.keeps = self.block > 1
        super().__init__(net, loss, streams, threads, slots=self.block if self.keeps else PIECE)
        self._weights = net.theta.copy() if self.keeps else net.theta  # in force in the open block

    def config(self):
        return {**super().config(), "block": self.block}

    def state(self):
        return {**super().state(), **({"weights": self._weights.copy()} if self.keeps else {})}

    def load_state(self, state):
        super().load_state(state)
        if self.keeps:
            self._weights[:] = state["weights"]

    def _allocate(self, streams, slots):
        if self.keeps:
            self._backward = Backward(self.net, streams)
            self._segment = np.zeros((streams, slots + 1), np.int32)
        super()._allocate(streams, slots)

    def _workspace(self):
        if not self.keeps:
            return super()._workspace()
        back = self._backward
        block = Block(self.net, self._tiles, self._sets[1], self._graph, back.graph, self._forward.slots)
        return (*super()._workspace(), back.workspace(), block)

    def _weights_changed(self):
        if not self.keeps:
            return
        if self._open:
            self._spread(lambda lo, hi, worker: self._finish(lo, hi, self._open, worker))
            self._open = 0
        self._weights[:] = self.net.theta

    def _learn(self, lo, hi, start, steps, worker):
        if not self.keeps:
            super()._learn(lo, hi, start, steps, worker)

    def _contract(self, slot, worker):
        if not self.keeps:
            super()._contract(slot, worker)

    def _settle(self, lo, hi, steps, worker):
        back, count, layers, layer_of = self._backward, self._counts[worker], self._graph[0], self._graph[1]
        tiles = self._tiles
        back.lam[lo:hi] = 0
        back.sweep(
            lo, hi, steps, self._weights[None], self._segment, self._forward, self._told, self._delta, self._gradient,
            self._spaces[worker][3], count,
        )  # fmt: skip
        read_rows(
            lo, hi, layers, layer_of, tiles.tile, tiles.span, tiles.unit, tiles.row, back.lam, self._M, self._live,
            self._gradient, count,
        )  # fmt: skip

    def _close(self, lo, hi, steps, worker):
        block, count = self._spaces[worker][4], self._counts[worker]
        for b in range(lo, hi):
            block.read(b, steps, self._weights, self._forward)
            block.advance(b, steps, self._forward, self._M, self._live, count)
