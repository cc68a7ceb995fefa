"""Detectors: which steps of a sequence are hard to predict, and so worth asking a memory about.

A detector gives each step an uncertainty, without gradient, when the sequence begins. It never receives a gradient from
what the memory learns.
"""

import copy

import torch
from torch import nn

from .loss import each_loss
from .streams import as_indices, as_tensors, of_task
from .tokens import TokenLinear

QUANTILES = 21
CERTAIN, NARROW = 0.05, 0.25  # nats, or parts of the targets' own spread, below which a step is not uncertain
PASSES = 10  # over the training sequences, at most: more would learn a small set by heart


class Detector:
    """Base: scores(x, padded, targets, keep) -> (batch, T)."""

    def prepare(self, source):
        """Learn beforehand from the sequences of a `Source`."""

    def scores(self, x, padded, targets, keep):
        """Uncertainty of every step of sequences x (batch, T, n_in); padded: their contexts (`Model.padded`)."""
        raise NotImplementedError

    def after_update(self):
        """The model has changed."""

    def state_dict(self):
        """dict of tensors, for checkpoints."""
        return {}

    def load_state_dict(self, state):
        """Go on from what `state_dict` gave."""


class RandomDetector(Detector):
    """No detector: all steps are as good. Drawn anew whenever targets are chosen."""

    def scores(self, x, padded, targets, keep):
        like = x.dtype if x.is_floating_point() else None
        return torch.zeros(keep.shape, dtype=like, device=x.device)


class EntropyDetector(Detector):
    """A predictor that sees a step's context alone, d(y_k | c_k): a perceptron, trained beforehand.

    Uncertainty: the entropy of what it says, in nats; for mse the spread of the quantiles that it says (quantile
    regression, Koenker and Bassett 1978, as in QR-DQN), in units of the target. batches, size: of its training, which
    passes over the sequences PASSES times at most. tokens: as for a ContextPredictor.
    """

    def __init__(self, model, loss, n_context, n_out, batches=200, size=32, hidden=64, lr=1e-2, tokens=False):
        self.model, self.loss, self.batches, self.size, self.n_out = model, loss, batches, size, n_out
        outputs = n_out * QUANTILES if loss == "mse" else n_out
        steps = model.predictor.steps
        first = TokenLinear(n_context, hidden, steps) if tokens else nn.Linear(n_context * steps, hidden)
        self.net = nn.Sequential(first, nn.ReLU(), nn.Linear(hidden, outputs))
        self.lr, self._ready = lr, False

    def prepare(self, source):
        if self._ready:
            return
        optimizer = torch.optim.Adam(self.net.parameters(), self.lr)
        device = next(self.net.parameters()).device
        batches = min(self.batches, -(-PASSES * len(source) // self.size))
        for _ in range(self.batches if source.task.fresh else batches):
            x, targets, keep, *_ = (as_indices(part).to(device) for part in source.take(self.size))
            if not keep.any():
                continue
            loss = self._loss(self._said(self.model.padded(x), keep), targets[keep])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self._refuse(source.task, of_task(source.task, source.task.split("validation"), source.dtype), device)
        self._ready = True

    @torch.no_grad()
    def _refuse(self, task, data, device):
        """ValueError if every step of the validation split is certain to the detector, and rightly so."""
        x, targets, keep, *_ = (as_indices(part).to(device) for part in as_tensors(data, slice(0, 128)))
        if not keep.any():
            return
        padded, least = self.model.padded(x), CERTAIN
        most = float(self.scores(x, padded, targets, keep)[keep].max())
        if self.loss == "mse":
            least = NARROW * float(targets[keep].std(0, correction=0).mean())
        else:  # a detector that is wrong, and sure of it, does not make a step certain
            most = max(most, float(each_loss(self.loss, self._said(padded, keep), targets[keep]).max()))
        if most <= least:
            raise ValueError(
                f"no step of task {task.name!r} is uncertain to who sees its context alone: at most {most:.2g}; "
                "MemUP has nothing to ask a memory about; shorten the context, or use tbptt"
            )

    def scores(self, x, padded, targets, keep):
        said = self._said(padded, torch.ones_like(keep)).reshape(*keep.shape, -1)
        if self.loss == "mse":
            return said.reshape(*keep.shape, self.n_out, QUANTILES).std(-1).mean(-1)
        if self.loss == "binary_cross_entropy":
            p = torch.sigmoid(said)
            return nn.functional.binary_cross_entropy(p, p, reduction="none").mean(-1)
        log = torch.log_softmax(said, -1)
        return -(log.exp() * log).sum(-1)

    def state_dict(self):
        return {"ready": torch.tensor(self._ready), **self.net.state_dict()}

    def load_state_dict(self, state):
        self._ready = bool(state["ready"])
        self.net.load_state_dict({name: value for name, value in state.items() if name != "ready"})

    def _said(self, padded, which):
        every = torch.arange(which.shape[1], device=padded.device).expand(len(padded), -1)
        return self.net(self.model.contexts(padded, every)[which])

    def _loss(self, said, targets):
        if self.loss != "mse":
            return each_loss(self.loss, said, targets).mean()
        level = (torch.arange(QUANTILES, device=said.device) + 0.5) / QUANTILES
        off = targets[..., None] - said.reshape(*targets.shape, QUANTILES)
        return torch.maximum(level * off, (level - 1) * off).mean()


class SurpriseDetector(Detector):
    """The loss of slowly averaged copies of memory and predictor on each step of the whole sequence: forward alone.

    decay: what the copies keep of themselves at each update. What the memory has learned to explain no longer
    surprises; nor does chance differ from ignorance: outcomes that nothing can tell keep their places.
    """

    def __init__(self, model, loss, decay=0.99):
        self.model, self.loss, self.decay = model, loss, decay
        self.average = copy.deepcopy(model).requires_grad_(False).eval()

    def scores(self, x, padded, targets, keep):
        out, _ = self.average(x)
        return each_loss(self.loss, out, targets)

    @torch.no_grad()
    def after_update(self):
        for mine, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mine.lerp_(new, 1.0 - self.decay)

    def state_dict(self):
        return self.average.state_dict()

    def load_state_dict(self, state):
        self.average.load_state_dict(state)


def refuse_certain(task, dtype):
    """ValueError if all targets of the validation split are the same: nothing in it is uncertain."""
    data = of_task(task, task.split("validation"), dtype)
    told = data.targets[data.keep]
    if (told == told[:1]).all():
        raise ValueError(
            f"no step of task {task.name!r} is uncertain, for all its targets are the same: MemUP has nothing to ask a "
            "memory about; give other data, or use tbptt"
        )


def build_detector(kind, model, task, seed=0):
    """The detector of that kind (`evsim.models.method.DETECTORS`) for a model on a task. seed: of its first weights."""
    if kind == "random":
        return RandomDetector()
    if kind == "surprise":
        return SurpriseDetector(model, task.loss)
    columns = model.context_columns
    like = next(model.parameters())
    n_context = task.n_in if columns is None else len(columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = EntropyDetector(model, task.loss, n_context, task.n_out, tokens=task.tokens)
    detector.net.to(like)
    return detector
