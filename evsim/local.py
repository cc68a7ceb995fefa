"""Local learners: no influence passes from unit to unit through recurrent weights, and errors may come down otherwise
than through the readout's own weights."""

from math import sqrt

import numpy as np

from evsim.carrier import Carrier
from evsim.check import check_below_one, check_choice, check_count
from evsim.network import check_network
from evsim.structure import within

BROADCASTS = ("symmetric", "random", "adaptive")


class Local(Carrier):
    """Base of e-prop and RFLO: RTRL without W_rec Y(t-1). A unit's own memory and the paths up a stack stay.

    broadcast: "symmetric", errors come down through the readout's weights W; "random", through B, drawn from `seed` as
    W was at the start; "adaptive", through B that begins so and at each change of W becomes (1 - decay) B + the change.
    """

    memory_claim = "O(P), and in a stack O(n P(below)), whatever the sequence's length"
    cost_claim = "P for each entry of A that is not 0, and in a stack K * density_in * phi-rate * n * m * P(below)"

    def __init__(self, net, loss, streams, threads, broadcast, seed, decay, quiet=None):
        self.net = check_network(net)
        self.broadcast = check_choice("broadcast", broadcast, BROADCASTS)
        self.seed = check_count("seed", seed, 0)
        self.decay = check_below_one("decay", decay)
        self._feedback, self._seen = net.theta, np.zeros(0, net.dtype)
        if broadcast != "symmetric":  # as theta, but for W
            shape = net.layout.names["readout.weight"][0]
            drawn = np.random.default_rng(self.seed).standard_normal(shape) / sqrt(shape[1])
            self._feedback = net.theta.copy()
            self._feedback[self._places] = drawn.ravel()
        if broadcast == "adaptive":
            self._seen = net.theta[self._places]  # W when B was last brought up to date
        super().__init__(net, loss, streams, threads, within(net.layout, 0), False, quiet)

    @property
    def _places(self):
        """Where theta holds W, row by row."""
        return self.net.layout.names["readout.weight"][2]

    def _bind(self):
        self._back = self._feedback
        super()._bind()

    def _inherit(self, old):
        super()._inherit(old)
        self._send_through(old._feedback[old._layout.names["readout.weight"][2]])
        self._seen = old._seen

    def _weights_changed(self):
        B = self._feedback[self._places]
        if self.broadcast == "adaptive":
            W = self.net.theta[self._places]
            B = (1 - self.decay) * B + (W - self._seen)
            self._seen[:] = W
        self._send_through(B)

    def _send_through(self, B):
        if self.broadcast != "symmetric":
            self._feedback[:] = self.net.theta
            self._feedback[self._places] = B

    def state(self):
        found = super().state()
        if self.broadcast != "symmetric":
            found["feedback"] = self._feedback[self._places]
        if self.broadcast == "adaptive":
            found["seen"] = self._seen.copy()
        return found

    def _load(self, state):
        super()._load(state)
        if self.broadcast != "symmetric":
            self._send_through(state["feedback"])
        if self.broadcast == "adaptive":
            self._seen[:] = state["seen"]

    def _engine_memory(self):
        own = self._seen.nbytes + (self._feedback.nbytes if self._feedback is not self.net.theta else 0)
        return {**super()._engine_memory(), "parameters": own}
