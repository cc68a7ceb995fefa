"""Trained: what a checkpoint or a bundle holds, ready to be asked: a network of evsim's, or a torch model."""

import json
from pathlib import Path

import numpy as np

from evsim.checkpoint import Checkpoint, load
from evsim.evaluate import evaluate, predict
from evsim.files import DAMAGE
from evsim.registry import load_optional
from evsim.task import Task


class Trained:
    """The network in an `evsim.checkpoint.Checkpoint`. loss: the learner's, or None; settings, task: none are in it.

    reached: how far a curriculum had come, as `evsim.task.Task.reached` has it.
    """

    def __init__(self, found):
        self.net, self.settings = found.net, {}
        self.task: Task | None = None
        training = found.extra.get("trainer")
        self.reached = training.get("reached", {}) if isinstance(training, dict) else {}
        self.loss = found.learner.loss_kind if found.learner else None
        self.n_in, self.n_out = found.net.n_in, found.net.n_out

    def evaluate(self, data, loss):
        """Figures on an `evsim.task.Data`, as `evsim.evaluate.evaluate` gives them."""
        return evaluate(self.net, data, loss)

    def predict(self, x, lengths, loss):
        """What is said at the end of each sequence, as `evsim.evaluate.predict` gives it."""
        return predict(self.net, x, lengths, loss)


def open_trained(path):
    """A `Trained` of a checkpoint or a bundle, or the same of a torch model (`evsim.models.run`): what `path` holds."""
    kind = _format(path)
    if kind == "evsim torch checkpoint":
        return load_optional("evsim.models.run", f"{path}, a torch model,").Trained(path)
    if kind == "evsim bundle":
        bundle = load_optional("evsim.exports.bundle", f"{path}, a bundle,")
        found = Trained(Checkpoint(bundle.load(path)))
        found.loss = bundle.read(path).header["loss"]
        return found
    return Trained(load(path))


def _format(path):
    """What a checkpoint says it is; None where it cannot be read, which whoever loads it explains."""
    try:
        with Path(path).open("rb") as file:
            return json.loads(str(np.load(file, allow_pickle=False)["header"][()]))["format"]
    except (OSError, *DAMAGE):
        return None
