"""SnAp: real-time recurrent learning whose influence matrix keeps what few recurrent weights away can reach."""

from evsim.carrier import Carrier
from evsim.check import check_count
from evsim.network import check_network
from evsim.structure import within


class SnAp(Carrier):
    """Sparse n-step approximation (SnAp-n) of real-time recurrent learning.

    At every step M is advanced as RTRL does, and only entries (unit i, parameters of unit k) are kept for which a path
    of at most n - 1 recurrent weights leads from k to i; weights from layer to layer are free, so n=1 reaches through a
    stack, and a unit's own memory always counts. What is dropped is dropped as soon as its layer has run: no other
    reads it. Where all that can influence is kept, the gradient is exact, and the learner's `exact` says so.

    n: 1 or more. ValueError if it is not a whole number of at least 1.
    """

    kind = "snap"
    exact = False
    drops = "influence that takes n recurrent weights or more to pass"
    memory_claim = "O(r P) for r units within reach of n - 1 recurrent weights, whatever the sequence's length"
    cost_claim = "as RTRL with r for n: K * density * phi-rate * r^2 * P, and r P for each entry of A that is not 0"
    source = "Menick et al.: A practical sparse approximation for real time recurrent learning (2021)"

    def __init__(self, net, loss="cross_entropy", n=1, streams=1, threads=1, quiet=None):
        self.n = check_count("n", n)
        layout = check_network(net).layout
        sets = within(layout, self.n - 1)
        self.exact = sets[1] is layout.sets
        super().__init__(net, loss, streams, threads, sets, quiet=quiet)

    def config(self):
        return {**super().config(), "n": self.n}
