"""Torch: what a run does with torch models, as `evsim.online.Numba` does with evsim's own learners."""

from types import SimpleNamespace

import numpy as np
import torch

from evsim.evaluate import answer, inputs_alone

from .build import build_method, build_trainer, model_of
from .checkpoint import load_trainer, load_weights, read
from .evaluate import evaluate, outputs
from .streams import of_task
from .trainer import updates_per_epoch


class Torch:
    """The steps of a run, in which settings are those of a single seed."""

    medians = (
        "test_accuracy", "test_loss", "updates", "train_seconds", "train_cpu_seconds", "graph_elements", "graph_bytes",
        "steps",
    )  # fmt: skip
    shared = ()

    @staticmethod
    def build(settings, task, together=False):
        """A trainer that is ready to fit; torch keeps to one thread."""
        torch.set_num_threads(1)
        return build_trainer(settings, task, together)

    @staticmethod
    def prepare(settings, task):
        """Nothing has to be compiled."""

    @staticmethod
    def foresee(settings, task):
        """(updates in an epoch, function from an epoch to the kind of its gradients or None)."""
        method = build_method(settings)
        return updates_per_epoch(task, method, settings["streams"]), getattr(method, "phase", None)

    @staticmethod
    def resume(checkpoint, settings, task):
        """The trainer that wrote `checkpoint`, where it then stood."""
        own = read(checkpoint)[0]["settings"]
        return load_trainer(checkpoint, Torch.build({**own, "epochs": settings["epochs"]}, task))

    @staticmethod
    def announce(trainer, settings):
        """What is going to be trained, in a few words."""
        parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        method = trainer.method
        what = {
            "memup": lambda: f"MemUP over {method.window} steps, {method.targets} targets by {method.detector}",
            "dni": lambda: (
                f"DNI over {method.window} steps, synthetic gradients times {method.scale:g}"
                + (" in turns with real ones" if method.phases.restarts or method.phases.switch else "")
            ),
            "tbptt": lambda: f"TBPTT over {method.window} steps",
            "bptt": lambda: "BPTT",
        }[method.kind]()  # fmt: skip
        kind, layers = settings["cell"], settings["layers"]
        units = f"{settings['units']} {kind}" + (f" in each of {layers} layers" if layers > 1 else "")
        return f"{units}, {parameters:,} parameters, {what}, torch on {settings['device']}"

    @staticmethod
    def stored(trainer):
        """Bytes that autograd keeps for backward, at most."""
        return trainer.graph["bytes"]

    @staticmethod
    def figures(trainer, _):
        """What came out, for the summary. graph_elements: memory steps and predictions in the graph of one stream."""
        found, graph, rows = trainer.evaluate(), trainer.graph, trainer.history
        return {
            "test_accuracy": found["accuracy"],
            "test_loss": found["loss"],
            **trainer.task.summarise(found["loss"], rows[-1]["loss"]),
            **{name: found[name] for name in ("activity", "phi_rate", "activity_per_layer") if name in found},
            **{name: rows[-1][name] for name in ("synthetic_cosine", "synthetic_error") if name in rows[-1]},
            "updates": trainer.updates,
            "train_cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 3),
            "graph_elements": graph["memory_steps"] + graph["predictions"],
            "graph_bytes": graph["bytes"],
            "steps": sum(row["steps"] for row in rows),
        }


class Trained:
    """A torch model from a checkpoint, as `evsim.trained.Trained` has a network. ValueError if it has no settings."""

    def __init__(self, path):
        header, arrays = read(path)
        self.settings, self.reached = header["settings"], header.get("reached", {})
        if self.settings is None:
            told = f"{path} was not written by evsim train, so how its model was built is not known"
            raise ValueError(f"{told}: build the trainer in Python and call its load(path)")
        self._task = SimpleNamespace(**{"tokens": False, **header["task"]})  # older ones do not say
        self.n_in, self.n_out, self.loss = self._task.n_in, self._task.n_out, self._task.loss
        self._model = model_of(self.settings, self._task)
        load_weights(self._model, arrays)
        torch.set_num_threads(1)

    def evaluate(self, data, loss):
        """Figures on an `evsim.task.Data`."""
        return evaluate(self._model, of_task(self._task, data, self.settings["dtype"]), loss)

    def predict(self, x, lengths, loss):
        """What is said at the end of each sequence: `evsim.evaluate.answer`."""
        data = inputs_alone(x, lengths, self.n_in, self.n_out, loss, np.dtype(self.settings["dtype"]))
        last = np.zeros((len(data), self.n_out), data.dtype)
        for where, start, out, *_ in outputs(self._model, data):
            step = data.lengths[where] - 1 - start
            (here,) = np.nonzero((step >= 0) & (step < out.shape[1]))
            last[where.start + here] = out[here, step[here]].numpy()
        return answer(last, loss)
