"""RTRL: exact gradients while time runs forward, in memory that does not grow with the sequence."""

from evsim.carrier import Carrier
from evsim.check import check_count


class RTRL(Carrier):
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
        super().__init__(net, loss, streams, threads)

    def config(self):
        return {**super().config(), "block": self.block}
