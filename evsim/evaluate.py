"""Evaluation: loss, accuracy and activity of a network on a data set, by inference alone."""

import numpy as np

from evsim.forward import Forward
from evsim.opcount import EVENTS, PHI, STEPS, new_count
from evsim.sample import choose
from evsim.sequences import as_sequences, correct
from evsim.task import Data

BATCH = 64
ROOM = 2**22  # outputs that are held at once


def evaluate(net, data, loss, count=None):
    """Run every sequence of `data`, an `evsim.task.Data` or a tuple of its first fields, from zero state.

    Returns a dict: loss (mean over its answers), accuracy (there; None for mse), activity and phi_rate (means over
    units, steps and sequences), activity_per_layer. x may be tokens. count: work is added to it (`evsim.opcount`).
    Outputs are held for a piece of a sequence at a time, however long it is.
    """
    data = as_sequences(Data(*data), net.n_in, net.n_out, loss, net.dtype)
    count = new_count(len(net.layers)) if count is None else count
    marks = Marks(loss)
    for where, here, out in _batches(net, data, count):
        marks.add(out, data.targets[where, here], data.answers[where, here])
    return {**marks.told(), **rates(net, count)}


class Marks:
    """Loss and accuracy of outputs, as they come."""

    def __init__(self, loss):
        self.kind = loss
        self.loss, self.right, self.judged, self.answers = 0.0, 0, 0, 0

    def add(self, out, targets, answers):
        """Outputs (..., n_out) where `answers` (...) is True."""
        self.loss += float(_losses(self.kind, out.astype(np.float64), targets)[answers].sum())
        self.answers += int(answers.sum())
        right, judged = correct(out, targets, answers, self.kind)
        self.right, self.judged = self.right + right, self.judged + judged

    def told(self):
        """dict: loss, the mean over answers, and accuracy, None for mse."""
        right = self.right / self.judged if self.judged else None
        return {"loss": self.loss / max(self.answers, 1), "accuracy": right}


def score(net, task, split, sequences, outputs):
    """dict of loss and accuracy (None for mse) of outputs, a list of (steps, n_out), on sequences that
    `evsim.sample.sample` takes."""
    data, places = choose(net, task, split, sequences)
    marks = Marks(task.loss)
    for k, out in zip(places, outputs, strict=True):
        marks.add(out, data.targets[k, : len(out)], data.answers[k, : len(out)])
    return marks.told()


def predict(net, x, lengths, loss):
    """What the network says at the last step of each sequence, as `answer` puts it."""
    data = inputs_alone(x, lengths, net.n_in, net.n_out, loss, net.dtype)
    last = np.zeros((len(data), net.n_out), net.dtype)
    for where, _, out in _batches(net, data, new_count(len(net.layers))):
        last[where] = out[:, -1]  # the last piece stays
    return answer(last, loss)


def activity(net, data):
    """activity, phi_rate and activity_per_layer on the inputs of an `evsim.sequences.Sequences`."""
    count = new_count(len(net.layers))
    for _ in _batches(net, data, count):
        pass
    return rates(net, count)


def inputs_alone(x, lengths, n_in, n_out, loss, dtype):
    """`evsim.sequences.Sequences` whose targets are not known."""
    n = len(x)
    y = np.zeros(n, np.int64) if loss == "cross_entropy" else np.zeros((n, n_out))
    return as_sequences(Data(x, y, lengths), n_in, n_out, loss, dtype)


def answer(out, loss):
    """Outputs (N, n_out) as classes (N,) for cross entropy, 0/1 (N, n_out) for binary cross entropy, or as they are."""
    if loss == "cross_entropy":
        return out.argmax(-1)
    return (out > 0).astype(np.int64) if loss == "binary_cross_entropy" else out


def rates(net, count):
    """activity, phi_rate and activity_per_layer from counted events."""
    units = np.array([cell.units for cell in net.layers])
    steps = max(int(count[0, STEPS]), 1)
    events, phi = count[:-1, EVENTS], count[:-1, PHI]
    return {
        "activity": float(events.sum() / (units.sum() * steps)),
        "phi_rate": float(phi.sum() / (units.sum() * steps)),
        "activity_per_layer": [float(e / (n * steps)) for e, n in zip(events, units, strict=True)],
    }


def _batches(net, data, count):
    """Yield (places, steps as a slice, out (batch, steps, n_out), a view), steps one piece after another.

    Batches are of sequences of equal length.
    """
    streams = min(BATCH, len(data))
    slots = max(1, min(64, int(data.lengths.max()), ROOM // (streams * net.n_out)))
    forward = Forward(net, streams, slots, learn=1)
    workspace = forward.workspace()
    for length in np.unique(data.lengths).tolist():
        places = np.flatnonzero(data.lengths == length)
        for s in range(0, len(places), BATCH):
            where, cuts = places[s : s + BATCH], [slice(t, min(t + slots, length)) for t in range(0, length, slots)]
            pieces = (data.inputs(where, cut.start, cut.stop) for cut in cuts)
            for cut, (out, _) in zip(cuts, forward.follow(pieces, workspace, count)):
                yield where, cut, out


def _losses(kind, out, targets):
    """Loss of every step: out (..., n_out) -> (...), as `evsim.loss` has it."""
    if kind == "cross_entropy":
        shifted = out - out.max(-1, keepdims=True)
        norm = np.log(np.exp(shifted).sum(-1))
        return norm - np.take_along_axis(shifted, targets[..., None], -1)[..., 0]
    if kind == "mse":
        return ((out - targets) ** 2).mean(-1)
    return (np.maximum(out, 0) - out * targets + np.log1p(np.exp(-np.abs(out)))).mean(-1)
