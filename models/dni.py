"""DNI: synthetic gradients for recurrent networks, alone or in turns with real ones. A specification: no torch here."""

import math
from dataclasses import dataclass, field
from numbers import Real

from evsim.check import check_choice, check_count, check_positive
from evsim.restarts import Phases

from .method import check_window

CONDITIONS = ("none", "target", "input")


@dataclass(frozen=True)
class DNI:
    """Truncated backpropagation whose windows end in a guess of what the future would have sent back.

    Decoupled neural interfaces (Jaderberg et al. 2017, arXiv 1608.05343) for recurrent networks. A sequence is read in
    windows of `window` steps. At a window's end a synthesiser M looks at the whole state s of the core (h and c of an
    LSTM, all layers) and says the gradient of all later losses with respect to it; `scale` times that goes back through
    the window together with the window's own losses, in a single backward pass, which also leaves the gradient at the
    window's first state. M regresses the latter, by the squared error summed over the state, with an Adam of its own
    whose rate `lr` stays: it is the real gradient within the window and M's own guess behind it, carried back. Where a
    sequence ends the future gradient is 0, and no guess is made. Gradients are those of one stream's losses summed over
    time; updates take the mean over streams.

    window: steps. scale: 0.1 in the paper; what is k windows away then counts scale**k. condition: what else M sees
    (cDNI): "none", "target" (the target of the next answer, a class as one-hot), "input" (the next input). auxiliary:
    weight of the squared error of a linear head that tells, from the core's output at a window's first step, what M
    will say at its end; its gradient reaches the core, and is part of what M finds at the window's start. units: of
    each of M's `layers` hidden layers of ReLU; None: as many as the state has numbers. layers: 0 makes M linear. M's
    last layer starts at 0. lr: of M.

    phases: `evsim.restarts.Phases`, the kind of gradient by epoch. In "real" ones no guess goes back (truncated
    backpropagation), though M still learns, from windows without a future; the alternation of arXiv 1902.10630.
    shuffled: a control, in which each stream is sent another's guess.

    ValueError or TypeError for values out of these ranges.
    """

    window: int = 10
    scale: float = 0.1
    condition: str = "none"
    auxiliary: float = 0.0
    units: int | None = None
    layers: int = 1
    lr: float = 1e-3
    phases: Phases = field(default_factory=lambda: Phases("synthetic"))
    shuffled: bool = False

    backend = "torch"
    kind = "dni"
    targets = 0  # MemUP's distant ones
    reduction = "sum"
    exact = False
    drops = "derivatives across windows, in whose place stands what a network has learnt to guess"
    memory_claim = "activations of `window` steps, and the synthesiser's parameters, whatever the sequence's length"
    cost_claim = "backpropagation's for each step; for each window the synthesiser forward twice and backward once"
    source = "Jaderberg et al.: Decoupled neural interfaces using synthetic gradients (2017)"

    def __post_init__(self):
        check_count("window", self.window)
        check_positive("scale", self.scale)
        check_choice("condition", self.condition, CONDITIONS)
        if self.auxiliary != 0 and (not isinstance(self.auxiliary, Real) or not 0 < self.auxiliary < math.inf):
            raise ValueError(f"auxiliary={self.auxiliary!r} is not usable: give a finite number of at least 0")
        if self.units is not None:
            check_count("synthesiser_units", self.units)
        if check_count("synthesiser_layers", self.layers, 0) == 0 and self.units is not None:
            raise ValueError(f"synthesiser_units={self.units} is of no use with synthesiser_layers=0: leave one out")
        check_positive("synthesiser_lr", self.lr)
        if not isinstance(self.phases, Phases):
            raise TypeError(f"phases is {self.phases!r}: pass an evsim.restarts.Phases")

    def phase(self, epoch):
        """ "real" or "synthetic": the kind of gradient in that epoch, counted from 1."""
        return self.phases.of(epoch)

    def check_steps(self, steps):
        """ValueError if the window is longer than the longest sequence, which has that many steps."""
        check_window(self.window, steps)
