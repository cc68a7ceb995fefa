"""RFLO: random-feedback local online learning."""

from evsim.local import Local


class RFLO(Local):
    """Random-feedback local online learning: `EProp` with random feedback and detached resets.

    Influence passes neither through recurrent weights nor through the event inside a unit's reset, as if every layer
    had detach_reset=True, so that a unit's trace fades as its state leaks. Errors come down through fixed weights drawn
    from N(0, 1 / units of the top layer) with `seed`. The gradient of a readout is exact.

    ValueError if seed is not a whole number of at least 0.
    """

    kind = "rflo"
    exact = False
    drops = "influence through recurrent weights and through resets; errors come down through random weights"
    source = "Murray: Local online learning in recurrent networks with random feedback (2019)"
    detach = True

    def __init__(self, net, loss="cross_entropy", seed=0, streams=1, threads=1, quiet=None):
        super().__init__(net, loss, streams, threads, "random", seed, 0.0, quiet)

    def config(self):
        return {**super().config(), "seed": self.seed}
