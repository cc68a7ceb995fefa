"""Tasks, trainers and a synthesiser that knows the truth, for the tests of synthetic gradients."""

import numpy as np
import torch
from torch import nn

from evsim.models import RolloutTrainer, build_model
from evsim.models.loss import each_loss
from evsim.models.synthesiser import flat
from evsim.task import Data, Task

CELLS = {
    "lstm": {}, "gru": {}, "lstm x 2": {"layers": 2}, "gru x 3": {"layers": 3},
    "egru": {"density": 0.5}, "egru x 2": {"layers": 2, "half_width": 0.5},
    "lif": {"threshold": 0.5}, "alif": {"reset": "zero", "threshold": 0.5}, "evrnn": {},
}  # fmt: skip


class Told(Task):
    """Noise in, noise out at three steps of four; lengths differ."""

    name, n_in, n_out, steps, loss, chance, sizes, defaults = "told", 3, 2, 11, "mse", None, {"train": 12}, {}

    def _make(self):
        rng = np.random.default_rng(0)
        x, y = (rng.standard_normal((12, 11, n)).astype(np.float32) for n in (3, 2))
        data = Data(x, y, rng.integers(1, 12, size=12), rng.random((12, 11)) < 0.75)
        return dict.fromkeys(("train", "validation", "test"), data)


class Late(Told):
    """The same, told at the last step alone."""

    def _make(self):
        made = super()._make()["train"]
        return dict.fromkeys(("train", "validation", "test"), made._replace(mask=None, y=made.y[:, 0]))


class Letters(Task):
    """Random letters, whole numbers; the one before is told; lengths differ."""

    name, n_in, n_out, steps, loss, chance = "letters", 4, 4, 11, "cross_entropy", 0.25
    tokens, sizes, defaults = True, {"train": 12}, {}

    def _make(self):
        rng = np.random.default_rng(0)
        x = rng.integers(4, size=(12, 11))
        data = Data(x, np.roll(x, 1, 1), rng.integers(1, 12, size=12), rng.random((12, 11)) < 0.75)
        return dict.fromkeys(("train", "validation", "test"), data)


def model_of(task, cell="lstm", dtype="float64", **options):
    given = {"units": 5, "predictor": "linear", "dtype": dtype, **CELLS.get(cell, {}), **options}
    return build_model(task, cell.partition(" ")[0], **given)


def trainer_of(method, task=None, cell="lstm", **options):
    task = Told() if task is None else task
    given = {"streams": 12, "seed": 3, "phase": "same", "clip": None, **options}
    return RolloutTrainer(given.pop("model", None) or model_of(task, cell), method, task, **given)


class Truth(nn.Module):
    """In a synthesiser's place: the true future gradient at each window's end, in the order in which it is asked."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.asked = answers, 0
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, state, context=None):
        if torch.is_grad_enabled():  # learning: nothing to be learnt
            return torch.zeros_like(state) + self.unused
        self.asked += 1
        return self.answers[self.asked - 1]


def true_gradients(trainer, window):
    """(gradients of the whole sequences by parameter, future gradient of each stream's own loss at windows' ends)."""
    model, at = trainer.model, trainer.at
    ends, m, state = [], [], tuple(part.clone().requires_grad_() for part in at.state)
    for first in range(0, at.x.shape[1], window):
        if first:
            state = tuple(part.clone() for part in state)
            for part in state:
                part.retain_grad()
            ends.append(state)
        now, state = model.remember(at.x[:, first : first + window], state)
        m.append(now)
    m, steps = torch.cat(m, 1), torch.arange(at.x.shape[1]).expand(len(at.x), -1)
    out = model.predict(m, model.contexts(at.padded, steps))
    told = at.keep & (steps < at.lengths[:, None])
    loss = each_loss(trainer.task.loss, out[told], at.targets[told]).sum()
    model.zero_grad()
    loss.backward()
    whole = {name: p.grad / len(at.x) for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return whole, [flat(tuple(torch.zeros_like(p) if p.grad is None else p.grad for p in end)) for end in ends]


def windows_of(trainer, phase="synthetic"):
    """(gradient by parameter, summed over all windows of the first sequences; what was left at windows' starts)."""
    model, at, starts, summed = trainer.model, trainer.at, [], {}
    for _ in range(0, at.x.shape[1], at.window):
        model.zero_grad()
        _, _, state, _ = trainer.synthetic.backward(model, at, phase)
        starts.append(trainer.synthetic.at_start)
        for name, p in model.named_parameters():
            if p.grad is not None:
                summed[name] = summed.get(name, 0) + p.grad
        at.at, at.state = at.at + at.window, tuple(part.detach() for part in state)
    return summed, starts


def apart(found, wanted):
    """The largest relative error of a parameter's gradient; one that is 0 has to be found to be 0."""
    errors = [(found[name] - value).norm() / (value.norm() if value.any() else 1) for name, value in wanted.items()]
    return max(map(float, errors))


