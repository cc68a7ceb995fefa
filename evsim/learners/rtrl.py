"""RTRL: exact gradients while time runs forward, in memory that does not grow with the sequence."""

from typing import Any

import numpy as np

from evsim.backward import Backward
from evsim.block import Block
from evsim.carrier import PIECE, Carrier
from evsim.check import check_count
from evsim.cost import BLOCKS, ENOUGH, PRODUCT, SWEEP, Work
from evsim.memory import count_bytes, imagined, parse_bytes, zeros
from evsim.network import check_network
from evsim.sweep import read_rows

LIMIT = 2**30  # bytes that block="auto" may take where nothing else is said, or twice those of block=1


class RTRL(Carrier):
    """Real-time recurrent learning (Williams and Zipser 1989), exact and sparse in activity and in weights.

    Carries M = d(state)/d(parameters) for every stream, with a fixed structure: only rows that a path in the masks can
    reach exist (`structure()`).

    block: steps between two advances of M. 1 advances it at every step. With more, only the sparse Steps of a block are
    kept; the gradient of losses inside it comes from one backward sweep, and at its end M is advanced at once
    (Schmidhuber 1992; Williams and Zipser 1995): the price falls towards that of backpropagation, memory still does not
    grow. A block whose Steps were so few or so sparse that stepping through them is less work is stepped through.
    Gradients are exact at any step all the same; a change of weights inside a block closes it first. "auto": what costs
    least by `evsim.cost` within memory_limit (bytes, or as in "64M"; if None, 1 GiB or twice what block=1 takes).

    ValueError for a block below 1, and for one whose memory is over memory_limit.
    """

    kind = "rtrl"
    exact = True
    memory_claim = "O(n P), whatever the sequence's length; and O(n h) for blocks of h steps"
    cost_claim = (
        "K * density * phi-rate * n^2 * P for K states, and n P for each entry of A that is not 0; times phi-rate once "
        "more for units without memory. In blocks of h steps: n^2 * P / h, and that of bptt for each of the n rows"
    )
    prices = SWEEP, PRODUCT
    source = "Williams and Zipser: A learning algorithm for continually running fully recurrent neural networks (1989)"

    def __init__(
        self, net, loss="cross_entropy", block: Any = 1, streams=1, threads=1, memory_limit=None, quiet=None
    ):
        check_network(net)
        if memory_limit is not None:
            given = parse_bytes(memory_limit) if isinstance(memory_limit, str) else memory_limit
            memory_limit = check_count("memory_limit", given)
        if isinstance(block, str) and block != "auto":
            raise ValueError(f'block={block!r} is not usable: give a number of steps or "auto"')
        if block != "auto":
            check_count("block", block)
        free = memory_limit is None and block != "auto"
        self.block = int(block) if free else _fitting(block, net, streams, threads, memory_limit)
        self.keeps = self.block > 1
        self.slots = self.block if self.keeps else PIECE
        super().__init__(net, loss, streams, threads, quiet=quiet)
        self._weights = net.theta.copy() if self.keeps else net.theta  # in force in the open block

    def config(self):
        return {**super().config(), "block": self.block}

    def state(self):
        return {**super().state(), **({"weights": self._weights.copy()} if self.keeps else {})}

    def _load(self, state):
        super()._load(state)
        if self.keeps:
            self._weights[:] = state["weights"]

    def _allocate(self, streams, slots):
        if self.keeps:
            self._backward = Backward(self.net, streams)
            self._segment = zeros((streams, slots + 1), np.int32)
        super()._allocate(streams, slots)

    def _workspace(self):
        if not self.keeps:
            return super()._workspace()
        back = self._backward
        block = Block(self.net, self._tiles, self._sets[1], self._graph, back.graph, self._forward.slots)
        return (*super()._workspace(), back.workspace(), block)

    def _engine_memory(self):
        found = super()._engine_memory()
        if self.keeps:
            found["structure"] += count_bytes(self._backward.structure)
            found |= {"state": self._backward.lam.nbytes, "steps": self._segment.nbytes}
            found["parameters"] = self._weights.nbytes
        return found

    def _work_of(self, work):
        return work.block(self._sets, self.block)[0]

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

    @property
    def _in_force(self):
        """Weights (segments, size), and which of them (streams, slots + 1) each slot was made with."""
        return self._weights[None], self._segment

    def _settle(self, lo, hi, steps, worker):
        lam = self._backward.lam
        lam[lo:hi] = 0
        self._backward.sweep(
            lo, hi, 0, steps, *self._in_force, self._forward, self._told, self._delta, self._gradient, lam,
            self._spaces[worker][3], self._counts[worker],
        )  # fmt: skip
        self._read_past(lo, hi, lam, self._gradient, worker)

    def _read_past(self, lo, hi, lam, gradient, worker):
        """Add what lam, d target / d state before the open block, has to do with earlier steps."""
        tiles = self._tiles
        read_rows(
            lo, hi, *self._graph[:2], tiles.tile, tiles.span, tiles.unit, tiles.row, lam, self._M, self._scale,
            gradient, self._counts[worker],
        )  # fmt: skip

    def _close(self, lo, hi, steps, worker):
        block, count = self._spaces[worker][4], self._counts[worker]
        for b in range(lo, hi):
            rows, product, stepping = block.read(b, steps, self._weights, self._forward, self._scale, count)
            if stepping <= self.prices[0] * rows + self.prices[1] * product:
                self._step_through(b, b + 1, 0, steps, worker, self._weights)
            else:
                block.advance(b, steps, self._forward, self._M, self._scale, count)


def _fitting(block, net, streams, threads, limit):
    """`block` if its memory is within the limit; for "auto" the cheapest that is."""

    def needs(steps):
        with imagined():
            return RTRL(net, block=steps, streams=streams, threads=threads).memory["total"]

    if block != "auto" and needs(block) <= limit:
        return block
    if limit is None:
        limit = max(LIMIT, 2 * needs(1))
    fit = [steps for steps in (1, *BLOCKS) if needs(steps) <= limit]
    if block != "auto" or not fit:
        needed = f"block={block} needs {needs(1 if block == 'auto' else block):,} bytes"
        most = f"take block={fit[-1]} or less, or allow more" if fit else f"even block=1 needs {needs(1):,}: allow more"
        raise ValueError(f"{needed}, but memory_limit is {limit:,}: {most}")
    layout, work = net.layout, Work(net)
    cost = {steps: work.block((layout.set_of_unit, layout.sets), steps)[1] for steps in fit}
    return next(steps for steps in fit if cost[steps] <= ENOUGH * min(cost.values()))
