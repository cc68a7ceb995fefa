"""e-prop: eligibility traces that know a unit's own memory alone, and errors broadcast to all units."""

from evsim.local import Local


class EProp(Local):
    """Eligibility propagation: real-time recurrent learning without influence through recurrent weights.

    Kept are each unit's own memory and, in a stack, the influence of a layer on those above it within a step. Exact
    where there are no recurrent weights, if errors are sent down symmetrically; the learner's `exact` then says so. The
    gradient of a readout is exact in any case.

    broadcast: the weights that carry errors from the outputs down to the top layer. "symmetric": the readout's own;
    "random": others, drawn from N(0, 1 / units of the top layer) with `seed` and fixed; "adaptive": such that change
    with the readout's, B <- (1 - decay) B + change, once for each change of the weights. decay: in [0, 1).

    ValueError for another broadcast, a seed that is not a whole number, or a decay out of range.
    """

    kind = "eprop"
    exact = False
    drops = "influence of one unit on others through recurrent weights; with feedback of its own, the readout's weights"
    source = "Bellec et al.: A solution to the learning dilemma for recurrent networks of spiking neurons (2020)"

    def __init__(
        self, net, loss="cross_entropy", broadcast="symmetric", seed=0, decay=1e-3, streams=1, threads=1, quiet=None
    ):
        super().__init__(net, loss, streams, threads, broadcast, seed, decay, quiet)
        recurrent = any(len(place.rec.source) for place in net.layout.layers)
        self.exact = broadcast == "symmetric" and not recurrent

    def config(self):
        return {**super().config(), "broadcast": self.broadcast, "seed": self.seed, "decay": self.decay}
