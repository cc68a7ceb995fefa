"""Methods that train a torch model in rollouts: MemUP, and truncated and full backpropagation as its special cases.

Specifications alone: no torch here, so that what is wrong shows, and what there is can be listed, without it.
"""

from dataclasses import dataclass

from evsim.check import check_choice, check_count

DETECTORS = ("entropy", "surprise", "random")


@dataclass(frozen=True)
class MemUP:
    """Memory trained by questions about the uncertain future (Sorokin, Buzun, Pugachev, Burtsev; NeurIPS 2022).

    A sequence is read in rollouts of `window` steps; state passes from one to the next, derivatives do not. At each
    prediction point t of a rollout the predictor is asked, from m_t and the context of step k, for the targets of the
    `targets` steps k >= t that a detector holds for the most uncertain, however far away they are. No recurrence is run
    from t to k, so the graph holds `window` memory steps and `targets` predictions per point.

    window: r, at least 1; None: whole sequences. targets: K; 0: none, which is truncated backpropagation, and with
    window=None backpropagation through all of time. detector: "entropy" (a predictor of its own that sees the context
    alone, trained beforehand; a step's uncertainty is the entropy of what it says, or for mse the spread of the
    quantiles that it says), "surprise" (the loss of slowly averaged copies of memory and predictor, on each step of an
    episode as it begins) or "random" (no detector: a control). every: a prediction point after that many steps of a
    rollout, and always one at its last; None: that one alone. current: the targets of the rollout's own steps are
    learned from too; each of the two parts is a mean over its targets, and they are added. reduction: "mean", or "sum":
    the rollout's own part is summed over its steps, and the mean over streams.

    ValueError or TypeError for values out of these ranges.
    """

    window: int | None = 10
    targets: int = 5
    detector: str = "entropy"
    every: int | None = None
    current: bool = True
    reduction: str = "mean"

    backend = "torch"
    exact = False
    drops = "derivatives across rollouts; distant targets are reached from the memory by a shortcut instead"
    memory_claim = (
        "activations of `window` steps and of one prediction for each target asked about, whatever the sequence's "
        "length; the sequence's inputs are kept"
    )
    cost_claim = "backpropagation's for each step, a prediction for each target, and the detector's pass"
    source = "Sorokin, Buzun, Pugachev, Burtsev: Explain my surprise: learning efficient long-term memory (2022)"

    def __post_init__(self):
        if self.window is not None:
            check_count("window", self.window)
        check_count("targets", self.targets, 0)
        check_choice("detector", self.detector, DETECTORS)
        check_choice("reduction", self.reduction, ("mean", "sum"))
        if self.every is not None:
            check_count("every", self.every)
            if self.every > (self.window or self.every):
                told = f"every={self.every} is longer than the window of {self.window} steps"
                raise ValueError(f"{told}, whose last step is a prediction point anyway: leave it out or make it less")
        if not self.targets and not self.current:
            raise ValueError("targets=0 with current=False leaves nothing to learn from: allow one of the two")

    @property
    def kind(self):
        """ "memup", "tbptt" or "bptt"."""
        return "memup" if self.targets else "tbptt" if self.window else "bptt"

    def points(self, steps):
        """Prediction points within a rollout of that many steps, counted from 0."""
        return [t for t in range(steps) if t == steps - 1 or (self.every and (t + 1) % self.every == 0)]

    def check_steps(self, steps):
        """ValueError if the window is longer than the longest sequence, which has that many steps."""
        check_window(self.window, steps)


def check_window(window, steps):
    """ValueError if a window is longer than the longest sequence, which has that many steps; None is as long."""
    if window is not None and window > steps:
        told = f"window={window} is longer than the longest sequence, which has {steps} steps"
        raise ValueError(f"{told}: take a shorter window")


def truncated(window, reduction="mean"):
    """Truncated backpropagation through time (Williams and Peng 1990) over `window` steps: MemUP without a future."""
    return MemUP(window, targets=0, reduction=reduction)


def full(reduction="mean"):
    """Backpropagation through all of time (Werbos 1990): a window as long as the sequence."""
    return MemUP(None, targets=0, reduction=reduction)
