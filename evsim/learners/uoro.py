"""UORO: unbiased but noisy gradients online, in no more memory than the parameters take."""

import numpy as np

from evsim.backward import Backward
from evsim.check import check_count
from evsim.layout import INDEX
from evsim.learner import Learner
from evsim.memory import count_bytes, zeros
from evsim.network import check_network
from evsim.rankone import follow, read_all

BITS = 64  # of a random word


class UORO(Learner):
    """Unbiased online recurrent optimization (Tallec and Ollivier 2018): RTRL with an outer product for its matrix.

    Each stream carries one number per state and one per parameter, whose product is M on average over random signs.
    The noise grows with the number of units: many streams, or small learning rates, average it out.

    seed: int, of the signs. Each stream has its own, which `reset` does not repeat; neither threads nor how a run is
    cut into pieces changes them.
    """

    kind = "uoro"
    exact = False
    drops = "nothing on average: unbiased, but noisy, the more so the more units"
    memory_claim = "O(n + P), whatever the sequence's length"
    cost_claim = "density * (activity + phi-rate) * n^2, and P"
    source = "Tallec and Ollivier: Unbiased online recurrent optimization (2018)"

    def __init__(self, net, loss="cross_entropy", seed=0, streams=1, threads=1, quiet=None):
        self.seed = check_count("seed", seed, 0)
        self._random = []
        self._states = sum(c.units * len(c.states) for c in check_network(net).stack)
        super().__init__(net, loss, streams, threads, quiet)

    def config(self):
        return {**super().config(), "seed": self.seed}

    def _inherit(self, old):
        super()._inherit(old)
        self._random = old._random

    def reset(self, streams=None):
        super().reset(streams)
        self._s[:] = 0
        self._share[:] = 0

    def state(self):
        random = [_words_of(source.state["state"]) for source in self._random]
        return {**super().state(), "s": self._s.copy(), "share": self._share.copy(), "random": np.array(random)}

    def _load(self, state):
        super()._load(state)
        self._s[:], self._share[:] = state["s"], state["share"]
        for source, words in zip(self._random, state["random"].tolist(), strict=True):
            source.state = {**source.state, "state": _numbers_of(words)}

    def _allocate(self, streams, slots):
        net = self.net
        seeds = [np.random.SeedSequence(self.seed, spawn_key=(b,)) for b in range(len(self._random), streams)]
        self._random = [*self._random[:streams], *map(np.random.PCG64, seeds)]
        self._backward = Backward(net, streams)
        self._s = zeros(self._backward.lam.shape, net.dtype)
        self._share = zeros((streams, net.layout.unit_columns), net.dtype)
        self._own = zeros((streams, net.layout.unit_columns), net.dtype)
        self._words = zeros((streams, slots + 1, -(-self._states // BITS)), np.uint64)
        self._segment = zeros((streams, slots + 1), np.int32)
        self._untold = zeros((streams, slots + 1), np.bool_)
        super()._allocate(streams, slots)

    def _work_of(self, work):
        return work.rank_one()

    def _workspace(self):
        active = zeros(self.net.layout.units, INDEX)
        return (*super()._workspace(), (*self._backward.workspace(), active))

    def _engine_memory(self):
        carried = self._s, self._share, self._own, self._backward.lam
        return {
            "influence": sum(a.nbytes for a in carried),
            "steps": self._words.nbytes + self._segment.nbytes + self._untold.nbytes,
            "structure": count_bytes(self._backward.structure),
        }

    def _learn(self, lo, hi, start, steps, worker):
        f = self._forward
        for b in range(lo, hi):
            self._words[b, start + 1 : start + steps + 1] = self._random[b].random_raw((steps, self._words.shape[2]))
        follow(
            lo, hi, start, steps, *self._backward.graph, self.net.theta[None], self._segment, f.x, f.y, f.A, f.B, f.C,
            f.phi, f.D, self._told, self._untold, self._delta, f.pressed, f.force, f.force_q, self._gradient,
            self._words, self._s, self._share, self._own, self._backward.lam, *self._spaces[worker][2],
            self._counts[worker],
        )  # fmt: skip

    def _contract(self, slot, worker):
        f, graph = self._forward, self._backward.graph
        read_all(
            0, self.streams, slot, graph[0], graph[3], graph[-1], f.phi, f.D, self._delta, self._s, self._share,
            self._gradient, self._counts[worker],
        )  # fmt: skip


def _words_of(state):
    """A generator's two 128-bit numbers as four words of 64 bits."""
    words = [state[name] >> shift & (1 << BITS) - 1 for name in ("state", "inc") for shift in (BITS, 0)]
    return np.array(words, np.uint64)


def _numbers_of(words):
    """The inverse of `_words_of`, from a list of ints."""
    return {"state": words[0] << BITS | words[1], "inc": words[2] << BITS | words[3]}
